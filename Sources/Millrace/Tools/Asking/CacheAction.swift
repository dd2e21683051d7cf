/// What `millrace cache` can do.
enum CacheAction: String, CaseIterable, Sendable {
  case stats, get, invalidate, clear
}
