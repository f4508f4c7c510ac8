// A price service. After some requests its database driver never calls back any more.
const http = require('http');

const port = Number(process.argv[2]);
const good = Number(process.argv[3]);
let queries = 0;

function query(callback) {
  queries += 1;
  if (queries <= good) setTimeout(() => callback({ price: queries }), 15);
}

const server = http.createServer((request, response) => {
  query((row) => {
    response.setHeader('Content-Type', 'application/json');
    const body = JSON.stringify(row);
    response.setHeader('Content-Length', Buffer.byteLength(body));
    response.end(body);
  });
});
server.requestTimeout = 0;
server.listen(port, '127.0.0.1');
