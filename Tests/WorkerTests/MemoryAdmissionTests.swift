import Basics
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import Worker

/// Computations that take memory for a while.
private final class Crowd {
  let admission = MemoryAdmission(bytesMax: 100, held: Metrics().gauge("held", ""))
  private(set) var bytesMax = 0
  private(set) var bytesUsed = 0
  private(set) var finished = 0
  private(set) var refused = 0

  func compute(_ bytes: Int, for span: TimeSpan, on reactor: isolated Reactor) async {
    guard await admission.take(bytes, on: reactor) else {
      refused += 1
      return
    }
    bytesUsed += bytes
    bytesMax = max(bytesMax, bytesUsed)
    await reactor.sleep(for: span)
    bytesUsed -= bytes
    admission.release(bytes, on: reactor)
    finished += 1
  }
}

@Suite(.timeLimit(.minutes(5))) struct MemoryAdmissionTests {
  @Test func `computations at once never take more than the budget, and each gets its turn`() async throws {
    try await onReactor { reactor in
      let crowd = Crowd()
      var random = SeededRandom(seed: 7)
      for _ in 0..<500 {
        let bytes = Int.random(in: 0...100, using: &random)
        let span = TimeSpan.milliseconds(UInt64.random(in: 0...3, using: &random))
        Task.immediate(executorPreference: reactor.queue) { await crowd.compute(bytes, for: span, on: reactor) }
      }
      Task.immediate(executorPreference: reactor.queue) {
        await crowd.compute(101, for: .milliseconds(1), on: reactor)
      }
      while crowd.finished < 500 { await reactor.sleep(for: .milliseconds(5)) }
      #expect(crowd.bytesMax <= 100 && crowd.bytesMax > 50)
      #expect(crowd.refused == 1 && crowd.admission.bytesUsed == 0)
    }
  }
}
