import Glibc

/// A system call that failed: which one, and the kernel's reason.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The call's name, as in its manual page.
  public let call: StaticString
  /// The `errno` it left.
  public let code: CInt

  /// The failure of `call` with `code`.
  public init(call: StaticString, code: CInt) {
    self.call = call
    self.code = code
  }

  /// Whether this process or its machine has run out of something that comes back: nobody else is to blame.
  public var isShortage: Bool {
    switch code {
    case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, ENOSPC: true
    default: false
    }
  }

  /// `connect: Connection refused`
  public var description: String { "\(call): \(String(cString: strerror(code)))" }

  /// Same call, same reason.
  public static func == (left: SystemError, right: SystemError) -> Bool {
    left.code == right.code && left.call.utf8Start == right.call.utf8Start
  }
}

/// Runs a system call that answers -1 on failure, again if a signal interrupted it. A descriptor that is not open or an
/// address outside the process is our own fault, and going on would corrupt somebody else's connection: it traps.
@discardableResult
public func systemCall<R: SignedInteger>(_ name: StaticString, _ call: () -> R) throws(SystemError) -> R {
  while true {
    let result = call()
    if result != -1 { return result }
    let code = errno
    if code == EINTR { continue }
    precondition(code != EBADF && code != EFAULT, "\(name) was given a bad descriptor or address")
    throw SystemError(call: name, code: code)
  }
}
