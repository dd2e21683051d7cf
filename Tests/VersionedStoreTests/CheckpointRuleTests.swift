import Testing

@testable import VersionedStore

@Suite("When a log goes into its file", .timeLimit(.minutes(1))) struct CheckpointRuleTests {
  @Test("however long somebody reads the file, writers wait for that a few times, and for others as ever")
  func reading() {
    var rule = CheckpointRule()
    #expect(rule.step(for: Limits.checkpointPages - 1) == nil)
    #expect(rule.step(for: Limits.checkpointPages) == .move)
    #expect(rule.step(for: Limits.logPagesMax) == .restart)
    var waits = 0
    for pages in stride(from: Limits.logPagesMax, to: 64 * Limits.logPagesMax, by: 25) {
      guard let step = rule.step(for: pages) else { continue }
      if step == .restart { waits += 1 }
      rule.did(step, to: pages, isWhole: false)
    }
    #expect(waits == 6)
    #expect(rule.step(for: Limits.logPagesMax) == .move)
    rule.did(.move, to: 64 * Limits.logPagesMax, isWhole: true)
    #expect(rule.step(for: Limits.logPagesMax) == .restart)
    rule.did(.restart, to: Limits.logPagesMax, isWhole: true)
    #expect(rule.step(for: Limits.logPagesMax) == .restart)
  }
}
