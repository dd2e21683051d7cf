import Basics
import Synchronization

extension Metrics {
  /// Everything registered, in the Prometheus text format 0.0.4.
  public func rendered() -> [UInt8] {
    let families = families.withLock { $0 }
    var text = ""
    for family in families {
      text += "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.type)\n"
      for series in family.series { Metrics.render(series, of: family.name, into: &text) }
    }
    return Array(text.utf8)
  }

  /// `name="value",…` with the value's backslash, quote and newline escaped, without the braces.
  static func render(_ labels: Labels) -> String {
    labels.map { label in
      var value = ""
      for character in label.value {
        switch character {
        case "\\": value += "\\\\"
        case "\"": value += "\\\""
        case "\n": value += "\\n"
        default: value.append(character)
        }
      }
      return "\(label.name)=\"\(value)\""
    }.joined(separator: ",")
  }

  private static func render(_ series: Series, of name: String, into text: inout String) {
    let braced = series.labels.isEmpty ? "" : "{\(series.labels)}"
    switch series.kind {
    case .counter(let counter): text += "\(name)\(braced) \(counter.value)\n"
    case .gauge(let gauge): text += "\(name)\(braced) \(gauge.value)\n"
    case .observed(let value): text += "\(name)\(braced) \(value())\n"
    case .histogram(let histogram): render(histogram, of: name, labels: series.labels, into: &text)
    }
  }

  private static func render(_ histogram: Histogram, of name: String, labels: String, into text: inout String) {
    let prefix = labels.isEmpty ? "" : labels + ","
    let braced = labels.isEmpty ? "" : "{\(labels)}"
    var total: UInt64 = 0
    for index in 0..<Histogram.boundsCount {
      total += MetricCells.total(histogram.cell + index)
      text += "\(name)_bucket{\(prefix)le=\"\(Double(Histogram.bound(index)) / 1e9)\"} \(total)\n"
    }
    total += MetricCells.total(histogram.cell + Histogram.boundsCount)
    text += "\(name)_bucket{\(prefix)le=\"+Inf\"} \(total)\n"
    text += "\(name)_sum\(braced) \(histogram.sum.seconds)\n\(name)_count\(braced) \(total)\n"
  }
}
