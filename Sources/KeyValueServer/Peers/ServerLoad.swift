import Basics
import Glibc
import Roles
import Telemetry

/// What a server has had to do since its start, as it measures it itself.
struct ServerFigures: Equatable {
  var requests: Int
  var averageLatencyMs: Double
  /// Of one processor.
  var cpuPercent: Double
  var memoryBytes: Int

  private static let fields = JSONFields("requests", "avg_latency_ms", "cpu_percent", "memory_bytes")

  /// Writes them as fields.
  func write(_ json: inout JSONWriter) {
    json.field("requests", requests)
    json.field("avg_latency_ms", averageLatencyMs)
    json.field("cpu_percent", cpuPercent)
    json.field("memory_bytes", memoryBytes)
  }

  init(requests: Int, averageLatencyMs: Double, cpuPercent: Double, memoryBytes: Int) {
    (self.requests, self.averageLatencyMs) = (requests, averageLatencyMs)
    (self.cpuPercent, self.memoryBytes) = (cpuPercent, memoryBytes)
  }

  /// Reads what `write` has written into an object; nil for anything else.
  init?(json: [UInt8]) {
    var (requests, latency, cpu, memory): (Int?, Double?, Double?, Int?)
    do throws(JSONError) {
      try JSONScanner.read(json) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(ServerFigures.fields) { (scanner: inout JSONScanner, field) throws(JSONError) in
          switch field {
          case 0: requests = try scanner.integer()
          case 1: latency = try scanner.double()
          case 2: cpu = try scanner.double()
          default: memory = try scanner.integer()
          }
        }
      }
    } catch {
      return nil
    }
    guard let requests, let latency, let cpu, let memory else { return nil }
    self.init(requests: requests, averageLatencyMs: latency, cpuPercent: cpu, memoryBytes: memory)
  }
}

/// Measures that.
final class ServerLoad {
  private let startedAt = MonotonicTime.current()
  private var requests = 0
  private var latency = TimeSpan(nanoseconds: 0)
  private let seconds: Histogram

  init(_ metrics: Metrics) {
    seconds = metrics.histogram("millrace_kv_request_seconds", "From a whole request for keys to its answer.")
  }

  /// A request was answered after `span`.
  func served(in span: TimeSpan) {
    requests += 1
    latency.nanoseconds += span.nanoseconds
    seconds.observe(span)
  }

  var figures: ServerFigures {
    ServerFigures(
      requests: requests, averageLatencyMs: requests == 0 ? 0 : latency.seconds * 1000 / Double(requests),
      cpuPercent: ServerLoad.cpuSeconds / max(MonotonicTime.current().since(startedAt).seconds, 0.001) * 100,
      memoryBytes: MemoryMetrics.residentBytes)
  }

  private static var cpuSeconds: Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
  }
}

/// Which of several servers have more requests than others, and which are slower: by half as much again as the mean.
enum Standouts {
  static func names(_ rows: [(name: String, figure: Double)]) -> [String] {
    let mean = rows.reduce(0) { $0 + $1.figure } / Double(max(rows.count, 1))
    return rows.filter { $0.figure > mean * Limits.standsOutBy }.map(\.name)
  }
}
