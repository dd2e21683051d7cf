import Basics
public import Reactor
import Telemetry

/// Looks the names up that lead to backends, again and again, and puts what they lead to into the set. Whoever comes
/// gets nothing before a check has found it well, and whoever leaves finishes what it has: so it is with each set that
/// takes the place of another. A look-up that fails leaves everything as it is, for a name server that is away says
/// nothing of the servers.
public final class NameWatcher {
  private let register: BackendRegister
  private let resolver: Resolver
  private var isStopped = false
  private var pauses: [Pause] = []

  /// Looks up on threads of `pool`, which a silent name server holds up.
  public init(_ register: BackendRegister, pool: ComputePool) {
    self.register = register
    resolver = Resolver(pool: pool)
  }

  /// Begins to look all names up.
  public func start(on reactor: isolated Reactor) {
    for name in register.plan.names {
      let pause = Pause()
      pauses.append(pause)
      Task.immediate(executorPreference: reactor.queue) { await follow(name, pause, on: reactor) }
    }
  }

  /// Looks up no more. A look-up that is under way is not waited for.
  public func stop() {
    isStopped = true
    for pause in pauses { pause.end() }
  }

  private func follow(_ name: BackendName, _ pause: Pause, on reactor: isolated Reactor) async {
    var members = NameMembers(name)
    var isFailing = false
    while !isStopped {
      let next = reactor.now + register.plan.lookUpInterval
      do throws(Resolver.Failure) {
        let addresses = try await resolver.addresses(of: name.host, port: name.port, on: reactor)
        if isStopped { return }
        if isFailing { register.log.info("a name is found again", [("name", name.host)]) }
        isFailing = false
        if let change = members.lookedUp(addresses) { adopt(members, change, name) }
      } catch {
        if !isFailing, !isStopped {
          register.log.warning(
            "a name is not found; its backends stay as they are", [("name", name.host), ("reason", error.reason)])
        }
        isFailing = true
      }
      if !isStopped { await pause.wait(until: next, on: reactor) }
    }
  }

  private func adopt(_ members: NameMembers, _ change: NameMembers.Change, _ name: BackendName) {
    register.log.info(
      "a name leads elsewhere",
      [
        ("name", name.host), ("joined", change.joined.joined(separator: ",")),
        ("left", change.left.joined(separator: ",")),
      ])
    let kept = register.replaceMembers(of: name.name, by: members.backends)
    let refused = change.refused + members.backends.count - kept
    if refused > 0 {
      register.log.warning("some servers are left out", [("name", name.host), ("servers", "\(refused)")])
    }
  }
}
