// KeyValueServer: the role that answers for keys and their versions over HTTP.
//
// The executable starts one `KeyValueServerProcess`. Alone it has all partitions of its store; beside others, which it
// is told of, it has those that it is asked for and nobody else has. It calls `VersionedStore` for everything about
// keys, `HTTP` for its endpoints and to ask its peers, and `Roles` for what every role does alike.
//
//   Requests/   what a client asks for, read strictly
//   Routes/     what each path is answered by
//   Peers/      the other servers: what they are asked, and how a partition comes from one to another
//
// Another path is an `on` in `KeyValueService.routes`, and its action a method in `Routes`.

import Basics
public import Postgres
public import Reactor
public import VersionedStore

/// A server of a store, as others are told of it.
public struct KeyValuePeer: Equatable, Sendable {
  /// Its name, on the ring too.
  public let name: String
  /// Where it listens.
  public let address: SocketAddress

  /// A server.
  public init(name: String, address: SocketAddress) {
    (self.name, self.address) = (name, address)
  }
}

/// Where a store is.
public enum KeyValueStorePlace: Sendable, CustomStringConvertible {
  /// In files.
  case folder(StoreFolder)
  /// In PostgreSQL, with so many partitions.
  case postgres(PostgresConfiguration, partitions: Int)

  /// How many partitions there are.
  public var partitions: Int {
    switch self {
    case .folder(let folder): folder.partitions
    case .postgres(_, let partitions): partitions
    }
  }

  /// For the log.
  public var description: String {
    switch self {
    case .folder(let folder): folder.path
    case .postgres(let database, _): "PostgreSQL on \(database.hosts.joined(separator: ", "))"
    }
  }
}

/// How a server runs.
public struct KeyValueServerConfiguration: Sendable {
  /// Its name in answers, on the ring and beside the partitions that it has.
  public var name = "server-1"
  /// Where it listens.
  public var endpoints: [SocketAddress] = []
  /// The other servers of the store, and this one if it is among them.
  public var peers: [KeyValuePeer] = []
  /// Versions of a key that are kept.
  public var maxVersions = 100
  /// Values that are kept in memory.
  public var cacheEntries = 10_000
  /// Bytes of memory that the process may take: a quarter of it is for values, and one for requests and answers.
  public var memoryBytes = 256 << 20
  /// How long a stop waits for requests under way.
  var drain = TimeSpan.seconds(10 as UInt64)

  /// A server that listens nowhere yet.
  public init() {}
}

/// The bounds of this room.
enum Limits {
  /// Bytes of a request body with a value: what stands around it is short.
  static let valueBodyBytesMax = (1 << 20) + 1024
  /// Bytes of a request body with a batch.
  static let batchBodyBytesMax = 4 << 20
  /// Versions or keys of a page unless the client says how many.
  static let pageUsual = 100
  /// Versions that an entity-tag field may name.
  static let tagsMax = 32
  /// Clients that may watch at a time.
  static let watchersMax = 10_000
  /// How long whoever watches hears nothing until a comment says that the connection stands.
  static let watchComment = TimeSpan.seconds(15 as UInt64)
  /// How long whoever watches waits when the store has too much to do.
  static let busyPause = TimeSpan.milliseconds(100)
  /// How long a server waits for a partition that another one has, and for what it asks of another one.
  static let peerPatience = TimeSpan.milliseconds(500)
  /// How long it waits until it asks for the partition again.
  static let peerPause = TimeSpan.milliseconds(25)
  /// How long nobody must have asked a server for a partition so that it gives that to another one.
  static let unusedBeforeLeaving = TimeSpan.milliseconds(100)
  /// Bytes of an answer of another server.
  static let peerAnswerBytesMax = 8 << 20
  /// How long it waits for a list of keys of another one,
  static let peerListPatience = TimeSpan.seconds(2 as UInt64)
  /// how often it begins anew because a partition has gone elsewhere meanwhile,
  static let movesMax = 3
  /// how long another one may have no news before it says so,
  static let peerNewsWaitSeconds = 5
  /// and how long it may take for that.
  static let peerNewsPatience = TimeSpan.seconds(7 as UInt64)
  /// By how much more than the mean requests or latency of a server must be to be worth a word.
  static let standsOutBy = 1.5
}
