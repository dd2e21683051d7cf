import Caching
import Telemetry

/// What the cache of values has done.
struct DataCounters {
  /// Values that were read from their table.
  let loads: Counter
  /// Requests that were answered by what another one had begun to look for.
  let shared: Counter
  /// Requests that no level could answer.
  let misses: Counter
  private let hits: [Counter]

  init(_ metrics: Metrics) {
    loads = metrics.counter("millrace_data_loads_total", "Values that were read from their table.")
    shared = metrics.counter(
      "millrace_data_shared_total", "Requests that were answered by what another one had begun to look for.")
    hits = CacheLevel.allCases.map {
      metrics.counter(
        "millrace_data_hits_total", "Requests that a level of the cache has answered.",
        [("level", $0.name.description)])
    }
    misses = metrics.counter("millrace_data_misses_total", "Requests that no level of the cache could answer.")
  }

  func count(_ level: CacheLevel?) {
    if let level { hits[level.rawValue - 1].increment() } else { misses.increment() }
  }
}
