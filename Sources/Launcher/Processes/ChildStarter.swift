import CLinux
import Glibc
import Reactor

/// Starts a process that dies with this one, whatever way this one ends.
///
/// What has to happen between fork and exec cannot be done by posix_spawn(3), and Swift cannot fork. So the child is
/// first this program again, as `millrace exec-child`, which gives up privileges, asks the kernel for a signal when its
/// parent ends (prctl(2), PR_SET_PDEATHSIG), makes sure that the parent has not ended already, and becomes the program
/// that was meant.
public enum ChildStarter {
  /// Where a child and its own children find the folder they were given: a descriptor, which a path through /proc leads
  /// to without passing the folders above (proc(5), /proc/pid/fd).
  static let folderPath = "/proc/self/fd/\(folderFD)"
  private static let folderFD: CInt = 3

  /// The hidden command.
  public static let command = "exec-child"

  /// How a child is started.
  struct Start {
    /// The program and its arguments.
    var arguments: [String]
    var environment: [String: String]
    /// The user to become; only root can.
    var user: String?
    /// A folder that is opened before that, for a program that could not reach it by its path and finds it at
    /// `folderPath`.
    var folder: String?
    /// What the kernel sends it when this process ends.
    var deathSignal: CInt
  }

  /// Starts a child in a process group of its own (a terminal's Ctrl-C reaches only the launcher) whose output goes to
  /// `output`.
  static func spawn(_ start: Start, executable: String, output: CInt) throws(SystemError) -> pid_t {
    var line = [executable, command, "--parent", String(getpid()), "--signal", String(start.deathSignal)]
    if let user = start.user { line += ["--user", user] }
    if let folder = start.folder { line += ["--folder", folder] }
    line += ["--"] + start.arguments
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
    var pid: pid_t = 0
    let variables = start.environment.map { "\($0.key)=\($0.value)" }
    let code = withCStrings(line) { arguments in
      withCStrings(variables) { posix_spawn(&pid, executable, &actions, &attributes, arguments, $0) }
    }
    guard code == 0 else { throw SystemError(call: "posix_spawn", code: code) }
    return pid
  }

  /// Becomes the program named in `arguments`; returns only to say why that failed.
  public static func become(_ arguments: [String]) -> String {
    guard let separator = arguments.firstIndex(of: "--"), separator + 1 < arguments.count else {
      return "\(command) is not for people"
    }
    var options: [String: String] = [:]
    for index in stride(from: 0, to: separator - 1, by: 2) { options[arguments[index]] = arguments[index + 1] }
    guard let parent = options["--parent"].flatMap({ pid_t($0) }),
      let signal = options["--signal"].flatMap({ CInt($0) })
    else { return "\(command) is not for people" }
    if let folder = options["--folder"] {
      let fd = open(folder, O_RDONLY | O_DIRECTORY)
      guard fd >= 0, fd == folderFD || dup2(fd, folderFD) == folderFD else {
        return "\(folder): \(String(cString: strerror(errno)))"
      }
      if fd != folderFD { close(fd) }
    }
    if let user = options["--user"] {
      if let reason = becomeUser(user) { return reason }
      // The folder of whoever called may be closed to this user, and programs complain when they cannot come back.
      chdir("/")
    }
    // After the change of user, which clears it.
    guard clinux_die_with_parent(signal) == 0 else { return "prctl: \(String(cString: strerror(errno)))" }
    if getppid() != parent { return "the launcher has ended" }
    // This program blocks the signals it watches and ignores SIGPIPE; another program expects neither.
    var none = sigset_t()
    sigemptyset(&none)
    sigprocmask(SIG_SETMASK, &none, nil)
    Glibc.signal(SIGPIPE, SIG_DFL)
    let program = Array(arguments[(separator + 1)...])
    return withCStrings(program) { pointers in
      execvp(program[0], pointers)
      return "\(program[0]): \(String(cString: strerror(errno)))"
    }
  }

  private static func becomeUser(_ name: String) -> String? {
    guard let entry = getpwnam(name) else { return "there is no user '\(name)'" }
    let (user, group) = (entry.pointee.pw_uid, entry.pointee.pw_gid)
    guard setgroups(0, nil) == 0, setgid(group) == 0, setuid(user) == 0 else {
      return "cannot become the user '\(name)': \(String(cString: strerror(errno)))"
    }
    return nil
  }

  private static func withCStrings<R>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
  ) -> R {
    let pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
  }
}
