// A service that does everything right: it answers after a moment, and keeps idle connections for some time.
const http = require('http');

const port = Number(process.argv[2]);
const delay = Number(process.argv[3]);
const idle = Number(process.argv[4] || 65000);
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
server.keepAliveTimeout = idle;
server.headersTimeout = idle + 1000;
server.listen(port, '127.0.0.1');
