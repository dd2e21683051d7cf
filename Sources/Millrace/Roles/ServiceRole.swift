import Basics
import ComputeService
import Reactor
import Telemetry

/// Starts a compute service.
enum ServiceRole {
  /// Runs a compute service until a signal stops it.
  /// - Throws: `CommandError`.
  static func run(_ configuration: Configuration) throws(CommandError) {
    let service = try plan(configuration)
    try TaskRoles.run(
      configuration.logger("service"), listens: service.endpoints, flag: "--listen, or --host and --port"
    ) { (log) throws(SystemError) in
      try ComputeServiceProcess.run(service, log: log, metrics: Metrics())
    }
  }

  /// What a compute service that was told this does.
  /// - Throws: `CommandError` if it cannot do that.
  static func plan(_ configuration: Configuration) throws(CommandError) -> ComputeServiceConfiguration {
    var service = ComputeServiceConfiguration()
    service.name = configuration.text(.serviceId) ?? HostName.own
    service.endpoints = try configuration.addresses()
    if service.endpoints.isEmpty {
      let (host, port) = (configuration.text(.host) ?? "", UInt16(configuration.integer(.port)))
      service.endpoints = [try HostName.listening(host, port: port)]
    }
    service.delay = .milliseconds(UInt64(configuration.integer(.processDelay)))
    service.memoryBytes = configuration.integer(.memoryMiB) << 20
    return service
  }
}
