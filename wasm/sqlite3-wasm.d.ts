/** With `{ type: "file" }` the import is a path, which Bun also gives in a compiled binary. */
declare module "@sqlite.org/sqlite-wasm/sqlite3.wasm" {
  const path: string;
  // biome-ignore lint/style/noDefaultExport: the form of Bun's file imports
  export default path;
}
