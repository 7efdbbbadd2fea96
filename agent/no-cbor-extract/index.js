// cbor-x takes "no extractStrings" as "no native decoder".
module.exports = {};
