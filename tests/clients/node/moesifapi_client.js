// Uses `moesifapi` as its users do: one call for each line of JSON, `[method, argument]`.
const readline = require('readline');
const moesifapi = require('moesifapi');
const { camel } = require('./camel');

moesifapi.configuration.BaseUri = process.env.GATEWAY_URL;
moesifapi.configuration.ApplicationId = process.env.APPLICATION_ID;

const MODELS = {
  createEvent: moesifapi.EventModel,
  createEventsBatch: moesifapi.EventModel,
  sendAction: moesifapi.ActionModel,
  sendActionsBatch: moesifapi.ActionModel,
  updateUser: moesifapi.UserModel,
  updateUsersBatch: moesifapi.UserModel,
  updateCompany: moesifapi.CompanyModel,
  updateCompaniesBatch: moesifapi.CompanyModel,
  updateSubscription: moesifapi.SubscriptionModel,
  updateSubscriptionsBatch: moesifapi.SubscriptionModel,
};

const answer = (error, response, context) => {
  const told = context && context.response ? context.response : response;
  console.log('> ' + JSON.stringify({
    error,
    status: told && told.statusCode,
    headers: told && told.headers,
    body: told && (told.body === undefined ? told : told.body),
  }));
};

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [method, argument] = JSON.parse(line);
  if (method === 'getHealthProbe') return moesifapi.HealthController.getHealthProbe(answer);
  const Model = MODELS[method];
  if (!Model) return moesifapi.ApiController[method](answer);
  const make = (one) => new Model(camel(one));
  const model = Array.isArray(argument) ? argument.map(make) : make(argument);
  return moesifapi.ApiController[method](model, answer);
});
