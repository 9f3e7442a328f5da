// The shop under Express, with `moesif-nodejs`.
const readline = require('readline');
const express = require('express');
const moesif = require('moesif-nodejs');
const { camel } = require('./camel');

let taken = 0;

const middleware = moesif({
  applicationId: process.env.APPLICATION_ID,
  baseUri: process.env.GATEWAY_URL,
  batchSize: Number(process.env.BATCH_SIZE),
  batchMaxTime: 600,
  getApiVersion: () => '1.2.3',
  identifyUser: () => 'user-7',
  identifyCompany: () => 'company-3',
  getSessionToken: () => 'session-1',
  getMetadata: () => ({ plan: { name: 'gold' } }),
  callback: (error) => { if (!error) taken += 1; },
  skip: (request) => request.path === '/health',
});

const app = express();
app.use(middleware);
app.use(express.json());
app.post('/orders', (request, response) => {
  response.status(201).set('X-Shop', '7').json({ order: 7, lines: request.body.lines, to: 'Zoë' });
});
app.get('/receipt', (request, response) => response.type('text/plain').send('Total: 5 €'));
app.get('/health', (request, response) => response.type('text/plain').send(String(taken)));
app.use((request, response) => response.status(404).json({ error: 'no such page' }));

const server = app.listen(0, '127.0.0.1', () => {
  console.log('> ' + JSON.stringify('http://127.0.0.1:' + server.address().port));
});

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const [method, argument] = JSON.parse(line);
  await middleware[method](Array.isArray(argument) ? argument.map(camel) : camel(argument));
  console.log('> ' + JSON.stringify(method));
});
