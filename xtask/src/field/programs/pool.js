// A well-kept client: one agent for all requests. Prints `served N failed N`.
const http = require('http');

const port = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 9 });
let served = 0;
let failed = 0;

function report() {
  console.log(`served ${served} failed ${failed}`);
}

function fetch() {
  http
    .get({ port, host: '127.0.0.1', agent }, (answer) => {
      answer.resume();
      answer.on('end', () => { served += 1; report(); });
    })
    .on('error', () => { failed += 1; report(); });
}

setInterval(fetch, 610);
setInterval(() => { for (let turn = 0; turn < 8; turn += 1) fetch(); }, 5300);
