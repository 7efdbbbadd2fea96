// Falsy: cbor-x installs what it finds here as its native decoder, unless there is nothing.
module.exports = null;
