/// What `millrace kv` can do beside being a server, as its first operand.
enum KeyValueAction: String, CaseIterable {
  case get, put, history, keys, servers, stats, export, `import`, backup
}
