import Foundation

/// Programs that tests start: the one place that does it.
///
/// What a test starts dies with the runner, however that ends: the kernel kills it when the thread that started it ends
/// (PR_SET_PDEATHSIG), and that thread lives as long as the process. Nothing but its standard streams is inherited, so
/// whoever reads what the runner prints never waits for a program that lives on.
///
/// Not Foundation's `Process`, which neither starts nor awaits programs reliably from several threads at once.
public enum ChildProcess {
  /// Why a program did not start.
  public struct Failure: Error, CustomStringConvertible {
    /// The system's reason.
    public let description: String
  }

  /// Starts `program` (a path, or a name to be found in PATH).
  /// - Parameters:
  ///   - environment: variables beside those of this process.
  ///   - input: its standard input; nil for nothing to read.
  ///   - output: its standard output and error; nil to throw both away.
  ///   - diesWithRunner: false for one that watches over others and ends by itself when it hears of the runner's end.
  /// - Throws: `Failure`.
  public static func start(
    _ program: String, _ arguments: [String], environment: [String: String] = [:], input: CInt? = nil,
    output: CInt? = nil, diesWithRunner: Bool = true
  ) throws -> pid_t {
    let line =
      diesWithRunner ? ["setpriv", "--pdeathsig", "KILL", program] + arguments : ["/usr/bin/env", program] + arguments
    let variables = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    return try SpawningThread.shared.run {
      try spawn(line, variables.map { "\($0.key)=\($0.value)" }, input, output)
    }.get()
  }

  /// Waits for a child's end: its exit code, or the signal that ended it.
  public static func waitForEnd(of pid: pid_t) -> (code: Int32, signal: Int32) {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) == -1, errno == EINTR {}
    return (status >> 8 & 0xFF, status & 0x7F)
  }

  private static var openDescriptors: [CInt] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []).compactMap { CInt($0) }
  }

  private static func spawn(_ line: [String], _ variables: [String], _ input: CInt?, _ output: CInt?) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input {
      posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    for stream in [1, 2] as [CInt] {
      if let output {
        posix_spawn_file_actions_adddup2(&actions, output, stream)
      } else {
        posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0)
      }
    }
    // The Glibc module has no addclosefrom_np; descriptors that are not open may be closed once more.
    for descriptor in ChildProcess.openDescriptors where descriptor > 2 {
      posix_spawn_file_actions_addclose(&actions, descriptor)
    }
    // Threads of tests have signals blocked, and what they start would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words: [UnsafeMutablePointer<CChar>?] = line.map { strdup($0) } + [nil]
    var entries: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for pointer in words + entries { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, line[0], &actions, &attributes, &words, &entries)
    guard code == 0 else { throw Failure(description: "\(line[0]): \(String(cString: strerror(code)))") }
    return pid
  }
}

/// A thread that starts programs and never ends: the kernel counts a child's parent by thread, and the threads that
/// tests run on come and go.
private final class SpawningThread: @unchecked Sendable {
  // Safe because: `jobs` is touched under the condition's lock only.
  static let shared = SpawningThread()
  private let condition = NSCondition()
  private var jobs: [() -> Void] = []

  private init() {
    Thread.detachNewThread { [self] in
      while true {
        condition.lock()
        while jobs.isEmpty { condition.wait() }
        let job = jobs.removeFirst()
        condition.unlock()
        job()
      }
    }
  }

  /// Runs `body` on the thread and waits for it.
  func run<R>(_ body: @escaping () throws -> R) -> Result<R, any Error> {
    let done = DispatchSemaphore(value: 0)
    nonisolated(unsafe) var result: Result<R, any Error>?
    condition.lock()
    jobs.append {
      result = Result { try body() }
      done.signal()
    }
    condition.signal()
    condition.unlock()
    done.wait()
    return result!
  }
}
