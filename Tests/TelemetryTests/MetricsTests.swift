import Basics
import Glibc
import Telemetry
import Testing

@Test(.timeLimit(.minutes(5))) func `counters of several threads add up`() async {
  let metrics = Metrics()
  let counter = metrics.counter("millrace_test_things_total", "Things.")
  await withTaskGroup(of: Void.self) { group in
    for _ in 0..<8 { group.addTask { for _ in 0..<10_000 { counter.increment() } } }
  }
  #expect(counter.value == 80_000)
  #expect(metrics.counter("millrace_test_things_total", "Things.").value == 80_000)
}

@Test(.timeLimit(.minutes(5))) func `percentiles of a histogram lie within a quarter of the truth`() {
  let histogram = Metrics().histogram("millrace_test_wait_seconds", "Waits.")
  var random = SeededRandom(seed: 3)
  var values: [UInt64] = []
  for _ in 0..<20_000 {
    let value = UInt64.random(in: 20_000...3_000_000_000, using: &random)
    values.append(value)
    histogram.observe(TimeSpan(nanoseconds: value))
  }
  values.sort()
  for quantile in [0.1, 0.5, 0.9, 0.99] {
    let truth = Double(values[Int(quantile * 20_000) - 1])
    let shown = Double(histogram.percentile(quantile)!.nanoseconds)
    #expect(shown >= truth * 0.75 && shown <= truth * 1.25, "\(quantile)")
  }
}

@Test(.timeLimit(.minutes(5))) func `metrics render as Prometheus text with escaped labels`() {
  let metrics = Metrics()
  metrics.counter("millrace_test_a_total", "As.", [("name", "x\"y\\z")]).add(3)
  metrics.gauge("millrace_test_b", "Bs.").set(-2)
  metrics.observed("millrace_test_c", "Cs.") { 1.5 }
  let text = String(decoding: metrics.rendered(), as: UTF8.self)
  #expect(text.contains("# TYPE millrace_test_a_total counter\nmillrace_test_a_total{name=\"x\\\"y\\\\z\"} 3\n"))
  #expect(text.contains("millrace_test_b -2\n"))
  #expect(text.contains("millrace_test_c 1.5\n"))
}

@Test(.timeLimit(.minutes(5)))
func `a JSON log line escapes what a client could put into it, and a level that is off builds nothing`() throws {
  var pipe: [CInt] = [0, 0]
  try #require(Glibc.pipe(&pipe) == 0)
  let log = Logger(sink: LogSink(fd: pipe[1]), subsystem: "test", format: .json)
  log.debug(
    "never",
    [
      (
        "x",
        {
          Issue.record("built a field of a level that is off"); return ""
        }()
      )
    ])
  log.info("told", [("path", "a\"b\n\u{1}")])
  log.flush()
  var buffer = [UInt8](repeating: 0, count: 4096)
  let line = String(decoding: buffer[..<read(pipe[0], &buffer, buffer.count)], as: UTF8.self)
  #expect(
    line.hasSuffix("\"level\":\"info\",\"subsystem\":\"test\",\"message\":\"told\",\"path\":\"a\\\"b\\n\\u0001\"}\n"))
}
