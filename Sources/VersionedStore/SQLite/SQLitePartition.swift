import Basics
import Reactor

/// A partition that this process has the lock of, and the two lanes on which its file is used: changes on one, reads on
/// the other, one job at a time on each, on threads beside the reactor. So reads do not wait for a commit.
///
///     changes ─► writer's lane ─► a connection that writes ─┐
///                                                           ├─► one file, and its log of changes
///     reads ───► reader's lane ─► one that only reads ──────┘
///
/// When the file has failed, both connections are closed and the file is opened and checked anew before anything else
/// is asked of it: what is in the kernel's memory after a failed sync is not on the disk, whatever a second sync says.
/// The lock is kept meanwhile.
final class SQLitePartition {
  private struct Files: Sendable {
    let writer: PartitionFile
    let reader: PartitionFile
  }

  /// The threads that wait for files.
  struct Threads: Sendable {
    let writers: ComputePool
    let readers: ComputePool
  }

  private let place: PartitionPlace
  private let maxVersions: Int64
  private let threads: Threads
  private var lock: PartitionLock?
  private var files: Files?
  private let writerTurn = Turnstile(width: 1)
  private let readerTurn = Turnstile(width: 1)
  /// Why the file cannot be used as it is now.
  private var fault: StoreError? = .failed("the file is not open yet")
  private var mayMendAt = MonotonicTime(nanoseconds: 0)
  private var isMending = false
  private var awaitingMend: [Pause] = []
  private var isClosed = false
  private var isCheckpointDue = false
  private var checkpoints = CheckpointRule()

  /// A partition whose lock is `lock`; its file is opened when it is first used.
  init(_ place: PartitionPlace, lock: PartitionLock, maxVersions: Int64, threads: Threads) {
    (self.place, self.lock, self.maxVersions, self.threads) = (place, lock, maxVersions, threads)
  }

  /// Runs `work` on the connection that writes. Whatever it has committed is remembered as such beside the file.
  func write<R: Sendable>(
    on reactor: isolated Reactor, _ work: @escaping @Sendable (PartitionFile) throws(SQLiteFailure) -> R
  ) async throws(StoreError) -> R {
    let (result, pages) = try await use(writerTurn, threads.writers, on: reactor) {
      [lock] (files) throws(SQLiteFailure) in
      let before = files.writer.revision
      let result = try work(files.writer)
      if files.writer.revision > before { lock?.mark(files.writer.revision) }
      return (result, files.writer.connection.pagesInLog)
    }
    if !isCheckpointDue, let step = checkpoints.step(for: pages) { checkpointSoon(step, on: reactor) }
    return result
  }

  /// Runs `work` on the connection that reads.
  func read<R: Sendable>(
    on reactor: isolated Reactor, _ work: @escaping @Sendable (PartitionFile) throws(SQLiteFailure) -> R
  ) async throws(StoreError) -> R {
    try await use(readerTurn, threads.readers, on: reactor) { (files) throws(SQLiteFailure) in try work(files.reader) }
  }

  /// Lets what is under way end, closes the file and gives the lock back.
  func close(on reactor: isolated Reactor) async {
    guard !isClosed else { return }
    isClosed = true
    _ = await writerTurn.enter(until: .never, on: reactor)
    _ = await readerTurn.enter(until: .never, on: reactor)
    if let files {
      self.files = nil
      // The next owner finds a short log; if that does not work it finds a long one.
      _ = try? await threads.writers.run(on: reactor) {
        files.reader.close()
        _ = try? files.writer.connection.checkpoint(restarts: true)
        files.writer.close()
      }
    }
    fault = .failed("the partition was given to another server")
    lock?.release()
    lock = nil
    writerTurn.leave()
    readerTurn.leave()
  }

  private func use<R: Sendable>(
    _ turn: Turnstile, _ pool: ComputePool, on reactor: isolated Reactor,
    _ work: @escaping @Sendable (Files) throws(SQLiteFailure) -> R
  ) async throws(StoreError) -> R {
    let deadline = reactor.now + Limits.patience
    guard await turn.enter(until: deadline, on: reactor) else { throw .busy }
    while fault != nil {
      turn.leave()
      await mend(on: reactor)
      if let fault { throw fault }
      guard await turn.enter(until: deadline, on: reactor) else { throw .busy }
    }
    guard let files else {
      turn.leave()
      throw .failed("the partition was given to another server")
    }
    let result = await SQLitePartition.run(on: pool, on: reactor) { () throws(SQLiteFailure) in try work(files) }
    // Set before the next one has its turn.
    if case .failure(let error) = result, error.breaksFile { fault = .failed(error.description) }
    turn.leave()
    do throws(SQLiteFailure) {
      return try result.get()
    } catch {
      if error.breaksFile { await mend(on: reactor) }
      throw error.asStoreError
    }
  }

  private static func run<R: Sendable>(
    on pool: ComputePool, on reactor: isolated Reactor, _ work: @escaping @Sendable () throws(SQLiteFailure) -> R
  ) async -> Result<R, SQLiteFailure> {
    do {
      return try await pool.run(on: reactor) {
        do throws(SQLiteFailure) { return Result<R, SQLiteFailure>.success(try work()) } catch {
          return .failure(error)
        }
      }
    } catch {
      return .failure(.tooMuch)
    }
  }

  /// Closes what has failed and opens it anew, once for all who wait for it.
  private func mend(on reactor: isolated Reactor) async {
    if isMending {
      let pause = Pause()
      awaitingMend.append(pause)
      await pause.wait(until: .never, on: reactor)
      return
    }
    guard !isClosed, reactor.now >= mayMendAt else { return }
    isMending = true
    _ = await writerTurn.enter(until: .never, on: reactor)
    _ = await readerTurn.enter(until: .never, on: reactor)
    let old = files
    files = nil
    let (place, maxVersions, mark) = (place, maxVersions, lock?.mark ?? 0)
    let opened = await SQLitePartition.run(on: threads.writers, on: reactor) { () throws(SQLiteFailure) -> Files in
      old?.reader.close()
      old?.writer.close()
      let writer = try PartitionFile.openForWriting(place, maxVersions: maxVersions, acknowledged: mark)
      return Files(writer: writer, reader: try PartitionFile.openForReading(place))
    }
    switch opened {
    case .success(let files):
      self.files = files
      fault = nil
    case .failure(let error):
      fault = error.asStoreError
      mayMendAt = reactor.now + Limits.mendPause
    }
    writerTurn.leave()
    readerTurn.leave()
    isMending = false
    for pause in awaitingMend { pause.end() }
    awaitingMend.removeAll()
  }

  /// Moves what is in the log into the file, behind the answers to what was committed.
  private func checkpointSoon(_ step: CheckpointRule.Step, on reactor: isolated Reactor) {
    isCheckpointDue = true
    Task.immediate(executorPreference: reactor.queue) {
      // What fails here is told to whoever uses the file next; a full disk leaves the log as it is.
      let done = try? await use(writerTurn, threads.writers, on: reactor) { (files) throws(SQLiteFailure) in
        let pages = files.writer.connection.pagesInLog
        return (pages: pages, isWhole: try files.writer.connection.checkpoint(restarts: step == .restart))
      }
      if let done { checkpoints.did(step, to: done.pages, isWhole: done.isWhole) }
      isCheckpointDue = false
    }
  }
}

extension SQLiteFailure {
  /// There are more jobs than threads will get to.
  fileprivate static var tooMuch: SQLiteFailure { SQLiteFailure(code: 5, description: "too much waits already") }

  /// Whether the file has to be opened anew before it is used again.
  fileprivate var breaksFile: Bool { !isFull && !isBusy && !isOfRow }
}
