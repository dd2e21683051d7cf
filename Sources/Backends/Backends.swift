// Backends: the servers behind a process: which there are, whether they are well, and the names that lead to them.
//
// The roles that send requests on call this room: the balancer to API processes or whatever it was told of, the API to
// compute services. It calls `Balancing` for every decision, `HTTP` to ask backends how they are, and `Reactor` to look
// names up. How a request gets to the backend that was chosen is the role's own business.
//
//   BackendPlan    what a process is told of its backends; `BackendAddress` is one of them
//   Names/         what stands for many: `BackendName`, and `NameWatcher`, which looks it up again and again
//   Set/           all backends at one time, `BackendSet`, replaced as a whole; `BackendRegister` has the one of now
//   HealthChecker  asks each of them again and again
//
// Something new that a backend is told with belongs into `BackendText`; something that is known of one while it is in
// use into `BackendEntry`.

/// The bounds of this room.
public enum BackendLimits {
  /// Names that lead to backends.
  public static let namesMax = 16
  /// Servers behind one of them.
  static let addressesPerNameMax = 256
  /// Threads that look names up.
  public static let lookUpThreadsMax = 4
}
