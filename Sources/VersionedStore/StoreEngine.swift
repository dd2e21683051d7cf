public import Basics
public import Reactor

/// Where a store keeps its partitions. Each method waits beside the reactor, and may be called for several partitions
/// and by many tasks at once.
///
/// An engine promises: a partition that is open was opened by nobody else, unless it `isShared`; a change that was
/// answered is durable; what a read answers was durable before, and is no older than any change that was answered
/// before the read began.
public protocol StoreEngine: AnyObject {
  /// Whether other servers may change a partition that is open here: then nothing of it is kept in memory.
  var isShared: Bool { get }
  /// What keeps it from answering anything at all, for people; nil if nothing does.
  var missing: String? { get }
  /// Makes a partition this server's, and tells its newest revision.
  func open(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> Int64
  /// Lets others have a partition, when all that is under way there is over.
  func close(_ partition: Int, on reactor: isolated Reactor) async
  /// Who has each partition, also those that are not open here; nil for those that nobody has.
  func holders(on reactor: isolated Reactor) async -> [String?]
  /// Does `changes` in their order, each whole or not at all, and tells what became of each and the newest revision.
  /// - Throws: `StoreError`; after `failed` the partition has to be opened again.
  func write(
    _ changes: [Change], to partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (outcomes: [ChangeOutcome], revision: Int64)
  /// The newest version of a key, or the one called `version`.
  func lookUp(
    _ key: StoreKey, version: Int64?, in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> Lookup
  /// Versions of a key before `before`, the newest first.
  func history(
    _ key: StoreKey, before: Int64?, limit: Int, in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [StoredVersion]
  /// Keys of a range with a value, behind `after`, in the order of their bytes.
  func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [KeyEntry]
  /// What has happened to keys of a range since a revision, as far as one look goes.
  func events(
    in range: KeyRange, since: Int64, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage
  /// Keys whose values are past their time, and the time of the next one that will be.
  func expired(
    in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (keys: [StoreKey], next: Timestamp?)
  /// How much there is.
  func figures(of partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> PartitionFigures
  /// Clears away what nobody needs any more, for a moment at a time.
  /// - Returns: whether there may be more of it.
  func tidy(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> Bool
}
