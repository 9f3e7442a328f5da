// Documents of the wire in the names that the Node SDKs use, `user_id` as `userId`;
// what a user chose freely (headers, bodies, metadata) keeps its names.
const MODELS = ['request', 'response', 'campaign'];

const camel = (document) => Object.fromEntries(
  Object.entries(document).map(([name, value]) => [
    name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()),
    MODELS.includes(name) ? camel(value) : value,
  ]),
);

module.exports = { camel };
