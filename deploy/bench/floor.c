// The least an epoll proxy can do, to hold a real one against: finds the end of a head, takes a kept connection to the
// origin, passes bytes on. No parsing, no fields, no limits, no errors. One read and one write a direction, and one
// buffer for all connections, so that a head that comes in pieces ends it.
// usage: floor PORT ORIGIN..., each origin a port or /path/of/socket; several floors may share a port
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

enum { origins_max = 8 };
struct origin {
  struct sockaddr_storage address;
  socklen_t length;
  struct side *kept;
};
struct side {
  int fd;
  struct origin *origin;  // NULL for a client
  struct side *other, *next_free;
};
static char bytes[1 << 16];
static struct origin origins[origins_max];
static int origins_count, turn, epoll;

static struct side *adopt(int fd, struct origin *origin) {
  int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct side *side = calloc(1, sizeof *side);
  side->fd = fd;
  side->origin = origin;
  struct epoll_event wish = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.ptr = side}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wish);
  return side;
}

static struct side *to_origin(void) {
  struct origin *origin = &origins[turn = (turn + 1) % origins_count];
  struct side *side = origin->kept;
  if (side) {
    origin->kept = side->next_free;
    return side;
  }
  int fd = socket(origin->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (const struct sockaddr *)&origin->address, origin->length) < 0) {
    perror("floor: connect");
    exit(1);
  }
  return adopt(fd, origin);
}

static void add_origin(const char *text) {
  struct origin *origin = &origins[origins_count++];
  if (text[0] == '/') {
    struct sockaddr_un path = {AF_UNIX, {0}};
    strncpy(path.sun_path, text, sizeof path.sun_path - 1);
    memcpy(&origin->address, &path, origin->length = sizeof path);
  } else {
    struct sockaddr_in port = {AF_INET, htons((unsigned short)atoi(text)), {htonl(INADDR_LOOPBACK)}, {0}};
    memcpy(&origin->address, &port, origin->length = sizeof port);
  }
}

int main(int count, char **arguments) {
  if (count < 3 || count > 2 + origins_max) {
    fprintf(stderr, "usage: floor PORT ORIGIN...\n");
    return 2;
  }
  int yes = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(door, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  struct sockaddr_in address = {AF_INET, htons((unsigned short)atoi(arguments[1])), {htonl(INADDR_LOOPBACK)}, {0}};
  for (int i = 2; i < count; i++) add_origin(arguments[i]);
  if (bind(door, (struct sockaddr *)&address, sizeof address) < 0 || listen(door, 4096) < 0) {
    perror("floor");
    return 1;
  }
  epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event wish = {EPOLLIN, {.ptr = NULL}}, events[256];
  epoll_ctl(epoll, EPOLL_CTL_ADD, door, &wish);
  while (1) {
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      struct side *side = events[i].data.ptr;
      if (!side) {
        int fd;
        while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) adopt(fd, NULL);
        continue;
      }
      ssize_t got = recv(side->fd, bytes, sizeof bytes, MSG_DONTWAIT);
      if (got <= 0) {
        if (got == 0) close(side->fd);
        continue;
      }
      size_t length = (size_t)got;
      if (!memmem(bytes, length, "\r\n\r\n", 4)) {
        fprintf(stderr, "floor: a head in pieces\n");
        return 1;
      }
      if (!side->origin) {
        side->other = to_origin();
        side->other->other = side;
        send(side->other->fd, bytes, length, MSG_NOSIGNAL);
      } else if (side->other) {
        send(side->other->fd, bytes, length, MSG_NOSIGNAL);
        side->other->other = NULL;
        side->other = NULL;
        side->next_free = side->origin->kept;
        side->origin->kept = side;
      }
    }
  }
}
