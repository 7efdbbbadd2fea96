// The CommonJS entry: dht-rpc says `const UDX = require("udx-native")`.
module.exports = require("./index.ts").UDX;
