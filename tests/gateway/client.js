// Fetches a page as Node programs do: by fetch, or by a tunnel through the proxy of the environment. A refusal says
// how long it took to connect, in milliseconds.
const http = require('http');
const https = require('https');
const net = require('net');

const url = new URL(process.argv[2]);
const proxy = process.env.https_proxy && new URL(process.env.https_proxy);

function refused(begun, error) {
  console.log(`${Math.round(performance.now() - begun)} ${error.code}`);
  process.exit(7);
}

if (proxy) {
  const begun = performance.now();
  const tunnel = http.request({
    host: proxy.hostname,
    port: proxy.port,
    method: 'CONNECT',
    path: `${url.hostname}:443`,
  });
  tunnel.on('error', (error) => refused(begun, error));
  tunnel.on('connect', (answer, socket) => {
    if (answer.statusCode !== 200) process.exit(8);
    https.get(url, { agent: new https.Agent({ socket }) }, (page) => page.pipe(process.stdout));
  });
  tunnel.end();
} else {
  fetch(url)
    .then((page) => page.text())
    .then((text) => process.stdout.write(text))
    .catch(() => {
      const begun = performance.now();
      net.connect(443, url.hostname).on('error', (error) => refused(begun, error));
    });
}
