// Reactor: one thread, one epoll, and an executor on top of it.
//
// Everything that moves bytes stands on this room: protocols (HTTP, Postgres, Redis) register descriptors and timers
// here, roles start reactors and run their handlers on them. It calls nobody above: what is ready is handed to the
// `EventHandler` that was registered. A new kind of event source is an `EventHandler` in a file of its own; a new
// moment in a turn of the loop belongs into `loop()` below. `Descriptors` is how an event finds its handler,
// `Execution` is where tasks, timers and computations run, `Sockets` is what moves bytes.
//
// A turn of the loop, in this order:
//
//   jobs of tasks ─► handlers that want to write before sleeping ─► epoll_wait ─► ready descriptors ─► due timers
//
// Among the ready descriptors those go first whose handlers say so: connections that wait in a pool, lest another event
// of the same turn takes one out that has ended.

public import Basics
import CLinux
import Glibc

/// The isolation domain of one event-loop thread. State reachable from it is plain and never Sendable: whoever holds an
/// `isolated Reactor` is on its thread.
public actor Reactor {
  /// The executor: a task that prefers it, and this actor itself, run on the reactor's thread.
  public nonisolated let queue: ReactorQueue
  /// Which of the process's reactors this is, from 0; for thread names and metrics labels.
  public nonisolated let index: Int

  /// The monotonic time, read once a turn after `epoll_wait`: what deadlines are counted from.
  public var now: MonotonicTime {
    @inlinable get { turnBegan }
  }
  @usableFromInline private(set) var turnBegan: MonotonicTime

  /// What a test puts between the pumps of this reactor and the kernel.
  public var socketFaults: SocketFaults?

  let epoll: CInt
  var slots: SlotTable
  var timers = TimerHeap()
  private var flushers = [EventHandler]()
  private var flushing = [EventHandler]()
  private var isStopping = false

  /// The serial executor of this actor is its own queue.
  public nonisolated var unownedExecutor: UnownedSerialExecutor { queue.asUnownedSerialExecutor() }

  /// A reactor that does nothing until a thread runs it.
  /// - Throws: `SystemError` if the process is out of descriptors.
  public init(index: Int = 0) throws(SystemError) {
    self.index = index
    queue = try ReactorQueue()
    epoll = try systemCall("epoll_create1") { epoll_create1(CInt(EPOLL_CLOEXEC)) }
    slots = SlotTable()
    turnBegan = .current()
    // Level-triggered: a wake-up must not be lost when a turn reads the counter only once.
    _ = clinux_epoll_add(epoll, queue.wakeFD, EPOLLIN.rawValue, UInt64(UInt32(bitPattern: queue.wakeFD)))
  }

  deinit { close(epoll) }

  /// Starts a thread that runs `start` on a new reactor and then its loop, until `stop()`.
  /// - Throws: `SystemError` if the process is out of descriptors or threads.
  public static func startThread(
    index: Int = 0, name: String, _ start: @escaping @Sendable (isolated Reactor) -> Void
  ) throws(SystemError) -> ReactorThread {
    try ReactorThread(reactor: try Reactor(index: index), name: name, start)
  }

  /// Runs `start` and then, unless that throws, the loop on the calling thread.
  /// - Throws: what `start` throws.
  public nonisolated func runOnCallingThread<E: Error>(
    _ start: @Sendable (isolated Reactor) throws(E) -> Void
  ) throws(E) {
    clinux_set_current_reactor(UInt(bitPattern: Unmanaged.passUnretained(queue).toOpaque()))
    defer { clinux_set_current_reactor(0) }
    let result: Result<Void, E> = assumeIsolated { reactor in
      do throws(E) {
        try start(reactor)
      } catch {
        return .failure(error)
      }
      reactor.loop()
      return .success(())
    }
    try result.get()
  }

  /// Makes the loop end after the turn it is in.
  public func stop() {
    isStopping = true
  }

  /// Calls `handler.flush(on:)` once before the loop sleeps next: all writes of a turn leave together.
  public func flushBeforeSleep(_ handler: EventHandler) {
    flushers.append(handler)
  }

  private func loop() {
    let capacity = Limits.eventsPerTurn
    let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: capacity)
    defer { events.deallocate() }
    while !isStopping {
      queue.runLocal()
      flushAll()
      let ready = clinux_epoll_wait(epoll, events, CInt(capacity), sleepLimitMs())
      turnBegan = .current()
      if ready > 0 { dispatch(events, Int(ready)) }
      fireTimers()
      slots.releaseRetired()
    }
    queue.runLocal()
    flushAll()
  }

  /// Marks an event that was handled already: no descriptor has this number.
  private static let doneTag = UInt64(UInt32(bitPattern: -1))

  private func dispatch(_ events: UnsafeMutablePointer<epoll_event>, _ count: Int) {
    if count > 1 {
      for index in 0..<count {
        let tag = events[index].data.u64
        let fd = CInt(truncatingIfNeeded: tag & 0xFFFF_FFFF)
        // Safe because: the table keeps its handlers until the end of the turn.
        guard let handler = slots.handler(of: fd, generation: UInt32(truncatingIfNeeded: tag >> 32)),
          handler._withUnsafeGuaranteedRef({ $0.goesFirst })
        else { continue }
        // Safe because: as above.
        events[index].data.u64 = Reactor.doneTag
        handler._withUnsafeGuaranteedRef { $0.ready(ReadyEvents(rawValue: events[index].events), on: self) }
      }
    }
    for index in 0..<count {
      let tag = events[index].data.u64
      let mask = ReadyEvents(rawValue: events[index].events)
      let fd = CInt(truncatingIfNeeded: tag & 0xFFFF_FFFF)
      if fd == queue.wakeFD {
        queue.drainRemote()
        continue
      }
      // A descriptor that was closed and reused in this very turn has another generation: its event is stale.
      guard let handler = slots.handler(of: fd, generation: UInt32(truncatingIfNeeded: tag >> 32)) else { continue }
      // Safe because: the table keeps its handlers until the end of the turn.
      handler._withUnsafeGuaranteedRef { $0.ready(mask, on: self) }
    }
  }

  /// What is written wakes tasks that write again; after some rounds descriptors have their turn first.
  private func flushAll() {
    var rounds = 0
    while !flushers.isEmpty, rounds < Limits.flushRoundsPerTurn {
      rounds += 1
      swap(&flushers, &flushing)
      for handler in flushing { handler.flush(on: self) }
      flushing.removeAll(keepingCapacity: true)
      queue.runLocal()
    }
  }

  /// How long `epoll_wait` may sleep: not at all while jobs wait, else until the next timer, rounded up.
  private func sleepLimitMs() -> CInt {
    if queue.hasLocalJobs || !flushers.isEmpty || isStopping { return 0 }
    guard let next = timers.earliest else { return -1 }
    let wait = next.since(.current()).nanoseconds
    return CInt(min((wait + 999_999) / 1_000_000, 3_600_000))
  }
}
