import CLinux
import Glibc
public import Telemetry

/// What a process may take of memory, and what takes it, for `/metrics`. What one room holds for itself is a gauge of
/// the same name that the room keeps: see `part`.
public enum MemoryMetrics {
  /// Registers what is the same in all roles.
  /// - Parameter limitBytes: what the process was told that it may take.
  public static func register(in metrics: Metrics, limitBytes: Int) {
    metrics.observed("millrace_memory_limit_bytes", "Bytes of memory that the process may take.") {
      Double(limitBytes)
    }
    metrics.observed(name, help, [("part", "resident")]) { Double(residentBytes) }
    metrics.observed(name, help, [("part", "allocated")]) { Double(clinux_allocated_bytes()) }
  }

  /// A gauge of the bytes that `part` holds: a name for operators, such as `cache`.
  public static func part(_ part: String, in metrics: Metrics) -> Gauge {
    metrics.gauge(name, help, [("part", part)])
  }

  private static let name = "millrace_memory_bytes"
  private static let help =
    "Bytes of memory: resident as the kernel counts them, allocated as malloc(3) does, and what some parts hold of it."

  /// Bytes in memory now, 0 if the kernel does not say (proc(5), statm).
  public static var residentBytes: Int {
    guard let file = fopen("/proc/self/statm", "re") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard fgets(&line, CInt(line.count), file) != nil else { return 0 }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let pages = text.split(separator: " ")
    return pages.count > 1 ? (Int(pages[1]) ?? 0) * Int(getpagesize()) : 0
  }
}
