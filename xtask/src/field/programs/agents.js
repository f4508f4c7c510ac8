// A service that makes a new keep-alive agent for each request. An agent keeps its connection for the next request of
// its own, which never comes. Prints `served N failed N`.
const http = require('http');

const port = Number(process.argv[2]);
const agents = [];
let served = 0;
let failed = 0;

function report() {
  console.log(`served ${served} failed ${failed}`);
}

const timer = setInterval(() => {
  const agent = new http.Agent({ keepAlive: true });
  agents.push(agent);
  http
    .get({ port, host: '127.0.0.1', path: '/rates', agent }, (answer) => {
      answer.resume();
      answer.on('end', () => { served += 1; report(); });
    })
    .on('error', () => { failed += 1; report(); });
  if (agents.length === 3000) clearInterval(timer);
}, Number(process.argv[3]));
