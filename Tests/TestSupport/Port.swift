import Basics
import Glibc
public import Reactor

/// Listens where something has just stopped listening. A process that another test is starting has its socket, too, for
/// a moment, until it runs its own program.
public func onceFree<Result>(
  on reactor: isolated Reactor, _ listen: () throws(SystemError) -> Result
) async throws(SystemError) -> Result {
  let deadline = reactor.now + .seconds(20 as UInt64)
  while true {
    do throws(SystemError) {
      return try listen()
    } catch {
      guard error.code == EADDRINUSE, reactor.now < deadline else { throw error }
    }
    await reactor.sleep(for: .milliseconds(1))
  }
}
