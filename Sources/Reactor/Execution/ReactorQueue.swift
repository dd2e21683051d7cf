import Basics
import CLinux
import Glibc
import Synchronization

/// The jobs of one reactor's thread, and how other threads wake it. It is a serial and a task executor at once: with
/// the serial one alone, every await that suspends would go through the global pool and back.
public final class ReactorQueue: SerialExecutor, TaskExecutor, @unchecked Sendable {
  // Safe because: `local` and `running` are touched on the owner thread only, the rest is atomic or locked.
  let wakeFD: CInt
  private var local: [UnownedJob] = []
  private var running: [UnownedJob] = []
  private let remote = Locked<[UnownedJob]>([])
  private let wakePending = Atomic<Bool>(false)

  init() throws(SystemError) {
    wakeFD = try systemCall("eventfd") { eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK)) }
  }

  deinit { close(wakeFD) }

  /// Whether the calling thread is the one that runs this queue.
  var isCurrent: Bool {
    clinux_current_reactor() == UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque())
  }

  /// Called by the concurrency runtime: from the owner thread without lock or system call, from another one through a
  /// locked list and at most one write to the eventfd until the list is read.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent {
      local.append(job)
      return
    }
    remote.withLock { $0.append(job) }
    if !wakePending.exchange(true, ordering: .acquiringAndReleasing) { eventfd_write(wakeFD, 1) }
  }

  /// Whether code running now may touch the reactor's state.
  public func isIsolatingCurrentContext() -> Bool? { isCurrent }

  /// Traps unless the calling thread is the reactor's.
  public func checkIsolated() { precondition(isCurrent, "not on the reactor's thread") }

  var hasLocalJobs: Bool { !local.isEmpty }

  /// Runs only what was queued when the pass began, so that work which queues itself again cannot starve descriptors.
  func runLocal() {
    guard !local.isEmpty else { return }
    swap(&local, &running)
    for job in running {
      job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
    }
    running.removeAll(keepingCapacity: true)
  }

  func drainRemote() {
    var count: eventfd_t = 0
    eventfd_read(wakeFD, &count)
    wakePending.store(false, ordering: .sequentiallyConsistent)
    var arrived: [UnownedJob] = []
    remote.withLock { swap(&$0, &arrived) }
    local.append(contentsOf: arrived)
  }
}
