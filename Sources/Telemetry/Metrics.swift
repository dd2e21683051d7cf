import Basics

/// The registry of a process's metrics. Handles are made once, at start; asking again for the same name and labels
/// gives the same handle. Names are `millrace_<subsystem>_<noun>_<unit>` in base units; a label never holds what a
/// client sent.
public final class Metrics: Sendable {
  /// Label names and values, in the order they are shown.
  public typealias Labels = [(name: String, value: String)]

  enum Kind {
    case counter(Counter)
    case gauge(Gauge)
    case histogram(Histogram)
    case observed(@Sendable () -> Double)
  }

  struct Series {
    let labels: String
    let kind: Kind
  }

  struct Family {
    let name: String
    let help: String
    let type: String
    var series: [Series]
  }

  let families = Locked<[Family]>([])

  /// An empty registry.
  public init() {}

  /// A counter; its name ends in `_total`.
  public func counter(_ name: String, _ help: String, _ labels: Labels = []) -> Counter {
    let kind = register(name, help, "counter", labels) { .counter(Counter(cell: MetricCells.allocate(1))) }
    guard case .counter(let handle) = kind else { preconditionFailure("\(name) is not a counter") }
    return handle
  }

  /// A gauge that the caller sets.
  public func gauge(_ name: String, _ help: String, _ labels: Labels = []) -> Gauge {
    let kind = register(name, help, "gauge", labels) { .gauge(Gauge()) }
    guard case .gauge(let handle) = kind else { preconditionFailure("\(name) is not a gauge") }
    return handle
  }

  /// A histogram of durations; its name ends in `_seconds`.
  public func histogram(_ name: String, _ help: String, _ labels: Labels = []) -> Histogram {
    let kind = register(name, help, "histogram", labels) {
      .histogram(Histogram(cell: MetricCells.allocate(Histogram.boundsCount + 2)))
    }
    guard case .histogram(let handle) = kind else { preconditionFailure("\(name) is not a histogram") }
    return handle
  }

  /// A gauge whose value is computed whenever somebody reads the metrics; `value` runs on any thread.
  public func observed(
    _ name: String, _ help: String, _ labels: Labels = [], _ value: @escaping @Sendable () -> Double
  ) {
    _ = register(name, help, "gauge", labels) { .observed(value) }
  }

  /// A counter that is kept elsewhere; its name ends in `_total`, and `value` runs on any thread.
  public func observedCounter(
    _ name: String, _ help: String, _ labels: Labels = [], _ value: @escaping @Sendable () -> Double
  ) {
    _ = register(name, help, "counter", labels) { .observed(value) }
  }

  private func register(_ name: String, _ help: String, _ type: String, _ labels: Labels, _ make: () -> Kind) -> Kind {
    let text = Metrics.render(labels)
    return families.withLock { families in
      guard let family = families.firstIndex(where: { $0.name == name }) else {
        let kind = make()
        families.append(Family(name: name, help: help, type: type, series: [Series(labels: text, kind: kind)]))
        return kind
      }
      if let series = families[family].series.first(where: { $0.labels == text }) { return series.kind }
      let kind = make()
      families[family].series.append(Series(labels: text, kind: kind))
      return kind
    }
  }
}
