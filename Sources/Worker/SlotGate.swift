import Basics
import Hashing
import Postgres
import Reactor
import TaskQueue

/// Where the slots of one group sleep while there is nothing to do, and who wakes them.
///
/// A slot may sleep only after a claim that found nothing *and was sent after this process's idle row was committed*:
/// whoever submits later sees the row and notifies, whoever submitted before was in reach of that claim.
final class SlotGate {
  let group: HashKind.SlotGroup
  /// Grows whenever the idle row is put in place and whenever a notification comes; a claim sent under an older number
  /// proves nothing.
  private(set) var announcement = 0
  private(set) var isAnnounced = false
  /// Claims on their way that take the idle row away. Until they are back, no row can be put in place: on another
  /// connection it might be there first and be taken away by them.
  private var removalsUnderWay = 0
  /// Grows whenever the row was or is to be taken away: an announcement under way meanwhile may have lost its row.
  private var disturbances = 0
  private var sleepers = RingQueue<UnsafeContinuation<Void, Never>>()
  private var isStopping = false

  init(group: HashKind.SlotGroup) {
    self.group = group
  }

  /// How many slots sleep.
  var sleeperCount: Int { sleepers.count }

  /// Whether slots sleep without a row that says so.
  var needsAnnouncement: Bool { !isAnnounced && !sleepers.isEmpty }

  /// Puts the idle row in place unless it is there.
  func announce(
    _ claims: Claims, _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    guard !isAnnounced, removalsUnderWay == 0 else { return }
    let before = disturbances
    try await claims.announceIdle(group: group.rawValue, connection, on: reactor)
    guard disturbances == before else { return }
    isAnnounced = true
    announcement += 1
  }

  /// Whether a claim that found nothing, sent when `announcement` was `seen`, allows sleeping.
  func maySleep(seen: Int?) -> Bool { isAnnounced && seen == announcement }

  /// Suspends until there may be work.
  func sleep(on reactor: isolated Reactor) async {
    if isStopping { return }
    await withUnsafeContinuation { sleepers.append($0) }
  }

  /// A slot goes to work: if it was the last one that slept, its next claim takes the idle row away.
  func takeAnnouncement() -> Bool {
    guard isAnnounced, sleepers.isEmpty else { return false }
    isAnnounced = false
    removalsUnderWay += 1
    disturbances += 1
    return true
  }

  /// Somebody else has put the row back although nobody sleeps any more: whether it is to be taken away now.
  func takeStaleRow() -> Bool {
    guard sleepers.isEmpty, !isAnnounced else { return false }
    removalsUnderWay += 1
    disturbances += 1
    return true
  }

  /// The statement that took the row away is back.
  func announcementTaken() { removalsUnderWay -= 1 }

  /// The row is gone for another reason: whoever notified took it away, or the connection was lost.
  func forgetAnnouncement() {
    isAnnounced = false
    disturbances += 1
  }

  /// Tasks were announced: slots that sleep look, and a claim that is on its way now may have been too early for them.
  func notified(_ count: Int) {
    guard count > 0 else { return }
    announcement += 1
    wake(count)
  }

  /// Wakes up to `count` slots.
  func wake(_ count: Int) {
    for _ in 0..<min(count, sleepers.count) { sleepers.popFirst()?.resume() }
  }

  /// Wakes all slots for good.
  func stop() {
    isStopping = true
    wake(sleepers.count)
  }
}
