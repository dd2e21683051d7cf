import Basics
import CLinux
import Glibc

/// Whoever serves the connections that a `Listener` takes.
public protocol ConnectionAcceptor: AnyObject {
  /// Whether there is no room for one more connection.
  var isFull: Bool { get }

  /// One more has come while it is full: makes room for it if that is possible. If not, those that come wait in the
  /// kernel until `Listener.resume`, or for a moment.
  func makeRoom(on reactor: isolated Reactor) -> Bool

  /// A connection has arrived: `fd` is non-blocking and now belongs to the acceptor.
  func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor)

  /// Accepting rests for `Limits.acceptPauseMs`, because the process or the system is out of descriptors or memory.
  func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor)
}

extension ConnectionAcceptor {
  /// It never is.
  public var isFull: Bool { false }
  /// There always is room.
  public func makeRoom(on reactor: isolated Reactor) -> Bool { true }
}

/// Takes connections from a listening socket. Level-triggered: what was not taken in one turn is reported again.
///
/// When the process is out of descriptors it stops asking for a while instead of being told in every turn that there is
/// something it cannot take; connections wait in the kernel meanwhile.
public final class Listener: EventHandler {
  /// Where it listens, with the port that the kernel chose if 0 was asked for.
  public let address: SocketAddress
  private let fd: CInt
  private let acceptor: any ConnectionAcceptor
  private lazy var pause = ReactorTimer(self)
  private var isOpen = true
  private var isResting = false
  /// Which file is ours, should another process have put its own in the place.
  private var inode: ino_t?

  /// Starts to take connections from `fd`, a listening socket that now belongs to the listener.
  /// - Throws: `SystemError` if it cannot be registered.
  public init(
    adopting fd: CInt, acceptor: any ConnectionAcceptor, on reactor: isolated Reactor
  ) throws(SystemError) {
    self.fd = fd
    self.acceptor = acceptor
    address = Socket.localAddress(fd)
    super.init()
    // The file of a socket that was handed over belongs to whoever has made it, and leads to it also after us.
    inode = InheritedSockets.contain(address) ? nil : address.unixPath.flatMap(Listener.inode)
    try reactor.register(self, fd: fd, events: .readable)
  }

  private static func inode(of path: String) -> ino_t? {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_ino : nil
  }

  /// Listens on `address`, with the socket that was handed over for it if there is one, and takes connections.
  /// - Throws: `SystemError` if the address is taken or not allowed.
  public convenience init(
    on address: SocketAddress, reusePort: Bool = false, acceptor: any ConnectionAcceptor,
    on reactor: isolated Reactor
  ) throws(SystemError) {
    var fd = try InheritedSockets.take(address)
    if fd == nil { fd = try Socket.listen(on: address, reusePort: reusePort) }
    try self.init(adopting: fd!, acceptor: acceptor, on: reactor)
  }

  /// Takes what the kernel has accepted already, and stops listening: whoever was let in there is served, and whoever
  /// comes later is refused. Nobody new can come in between the last look and the end, whose request would be lost: a
  /// Unix socket's file goes first, and at a port the kernel lets nobody begin any more, for the time that others need
  /// to come in whole.
  public func closeAfterLast(on reactor: isolated Reactor) async {
    guard isOpen else { return }
    removeFile()
    // A socket that was handed over stays, with all that wait at it.
    if !address.isUnix, !InheritedSockets.contain(address) {
      Socket.dropNewcomers(fd)
      await reactor.sleep(for: .milliseconds(Limits.lastHandshakesMs))
    }
    while isOpen, take(beyondBounds: true, on: reactor) {}
    close(on: reactor)
  }

  /// Stops listening; connections that wait in the kernel are refused.
  public func close(on reactor: isolated Reactor) {
    guard isOpen else { return }
    isOpen = false
    reactor.cancel(pause)
    reactor.deregister(fd: fd)
    Glibc.close(fd)
    removeFile()
  }

  private func removeFile() {
    guard let path = address.unixPath, let inode, Listener.inode(of: path) == inode else { return }
    unlink(path)
    self.inode = nil
  }

  /// Takes what waits, up to the bound of a turn.
  public override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    _ = take(on: reactor)
  }

  /// Takes connections up to the bound of a turn; whether there may be more.
  private func take(beyondBounds: Bool = false, on reactor: isolated Reactor) -> Bool {
    var peer = SocketAddress()
    for _ in 0..<Limits.acceptsPerTurn where isOpen {
      if !beyondBounds, acceptor.isFull {
        guard hasWaiting else { return false }
        guard acceptor.makeRoom(on: reactor) else {
          rest(on: reactor)
          return false
        }
      }
      peer.length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let flags = CInt(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
      let accepted = clinux_accept4(fd, &peer.storage, &peer.length, flags)
      if accepted >= 0 {
        if !address.isUnix { Socket.setNoDelay(accepted) }
        acceptor.accepted(accepted, from: peer, on: reactor)
        continue
      }
      switch errno {
      case EINTR, ECONNABORTED: continue
      case EMFILE, ENFILE, ENOBUFS, ENOMEM:
        acceptor.acceptingPaused(SystemError(call: "accept4", code: errno), on: reactor)
        rest(on: reactor)
        return false
      default: return false
      }
    }
    return true
  }

  /// Whether a connection waits to be taken.
  private var hasWaiting: Bool {
    var asked = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
    return poll(&asked, 1, 0) == 1
  }

  private func rest(on reactor: isolated Reactor) {
    guard isOpen else { return }
    isResting = true
    reactor.modify(fd: fd, events: [])
    reactor.arm(pause, after: .milliseconds(Limits.acceptPauseMs))
  }

  /// There may be room again.
  public func resume(on reactor: isolated Reactor) {
    guard isResting, isOpen else { return }
    isResting = false
    reactor.cancel(pause)
    reactor.modify(fd: fd, events: .readable)
  }

  /// The rest is over: ask again.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    resume(on: reactor)
  }
}
