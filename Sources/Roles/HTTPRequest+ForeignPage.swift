import Basics
public import HTTP
import HTTPSyntax
import Reactor

extension HTTPRequest {
  /// A browser on this machine also carries out what pages from elsewhere ask for. Such a request names their origin,
  /// or a host name of theirs that they let resolve to this machine.
  public var isFromForeignPage: Bool {
    let host = String(decoding: headBytes[head.authority], as: UTF8.self)
    if let origin = value(of: .origin), !origin.elementsEqual("http://\(host)".utf8) { return true }
    if let site = value(of: .secFetchSite), !site.elementsEqual("same-origin".utf8),
      !site.elementsEqual("none".utf8)
    {
      return true
    }
    let name = host.last == "]" ? Substring(host) : host[..<(host.lastIndex(of: ":") ?? host.endIndex)]
    return name != "localhost" && SocketAddress(ip: String(name), port: 0) == nil
  }
}
