// A service that does everything right: it answers after a moment, and keeps idle connections for long.
const http = require('http');

const port = Number(process.argv[2]);
const delay = Number(process.argv[3]);
let count = 0;

const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    count += 1;
    const body = `answer ${count}\n`;
    setTimeout(() => {
      response.setHeader('Content-Length', Buffer.byteLength(body));
      response.end(body);
    }, delay);
  });
});
server.keepAliveTimeout = 65000;
server.headersTimeout = 66000;
server.listen(port, '127.0.0.1');
