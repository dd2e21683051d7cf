import Basics

/// What a compute service has said.
struct ServiceAnswer {
  let message: [UInt8]
  let serviceID: [UInt8]

  private static let fields = JSONFields("message", "service_id")

  init(body: [UInt8]) throws(JSONError) {
    (message, serviceID) = try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
      var (message, serviceID): ([UInt8]?, [UInt8]?)
      try scanner.object(ServiceAnswer.fields) { (scanner: inout JSONScanner, field) throws(JSONError) in
        if field == 0 { message = try scanner.string() } else { serviceID = try scanner.string() }
      }
      return (try scanner.required(message, "message"), try scanner.required(serviceID, "service_id"))
    }
  }
}
