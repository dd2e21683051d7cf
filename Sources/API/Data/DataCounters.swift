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
  /// Copies that were loaded anew before their end.
  let early: Counter
  private let hits: [Counter]
  private let stale: [Counter]

  /// Why a copy was answered whose time is over.
  enum StaleReason: String, CaseIterable {
    /// Another one is on its way.
    case beingLoaded = "revalidate"
    /// There was no other answer.
    case failed = "error"
  }

  init(_ metrics: Metrics) {
    loads = metrics.counter("millrace_data_loads_total", "Values that were read from their table.")
    shared = metrics.counter(
      "millrace_data_shared_total", "Requests that were answered by what another one had begun to look for.")
    hits = CacheLevel.allCases.map {
      metrics.counter(
        "millrace_data_hits_total", "Requests that a level of the cache has answered.",
        [("level", $0.name.description)])
    }
    early = metrics.counter(
      "millrace_data_early_refreshes_total", "Copies that were loaded anew before their end, so that nobody waits.")
    stale = StaleReason.allCases.map {
      metrics.counter(
        "millrace_data_stale_total", "Requests that were answered with a copy whose time is over.",
        [("reason", $0.rawValue)])
    }
    misses = metrics.counter("millrace_data_misses_total", "Requests that no level of the cache could answer.")
  }

  func count(_ level: CacheLevel?) {
    if let level { hits[level.rawValue - 1].increment() } else { misses.increment() }
  }

  func count(_ reason: StaleReason) {
    stale[reason == .beingLoaded ? 0 : 1].increment()
  }
}
