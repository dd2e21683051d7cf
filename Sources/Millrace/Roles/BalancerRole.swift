/// Starts the balancer.
enum BalancerRole {
  static func run(_ configuration: Configuration) throws(CommandError) {
    throw .configuration("the balancer has not landed")
  }
}
