// A server that pushes: WebSockets, server-sent events and long polls. Nearly nothing happens on any of them.
const crypto = require('crypto');
const http = require('http');

const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const events = new Set();
const sockets = new Set();

const server = http.createServer((request, response) => {
  if (request.url === '/poll') {
    setTimeout(() => { response.writeHead(204); response.end(); }, 31000);
    return;
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.write('retry: 2000\n\n');
  events.add(response);
  request.on('close', () => events.delete(response));
});

server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'];
  const accept = crypto.createHash('sha1').update(key + MAGIC).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
  socket.on('error', () => sockets.delete(socket));
});

setInterval(() => {
  for (const response of events) response.write('data: still here\n\n');
}, 37000);
setInterval(() => {
  const text = Buffer.from('still here');
  for (const socket of sockets) socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
}, 41000);

server.requestTimeout = 0;
server.listen(Number(process.argv[2]), '127.0.0.1');
