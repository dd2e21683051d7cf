// The least an epoll proxy can do, to hold a real one against: finds the end of a head, takes a kept connection to the
// origin, passes bytes on. No parsing, no fields, no limits, no errors. One read and one write a direction.
// usage: floor PORT ORIGIN_PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct side {
  int fd, is_client;
  struct side *other, *next_free;
  size_t length;
  char bytes[8192];
};
static struct side *kept;
static int epoll;

static struct side *adopt(int fd, int is_client) {
  int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct side *side = calloc(1, sizeof *side);
  side->fd = fd;
  side->is_client = is_client;
  struct epoll_event wish = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.ptr = side}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wish);
  return side;
}

static struct side *to_origin(const struct sockaddr_in *origin) {
  struct side *side = kept;
  if (side) {
    kept = side->next_free;
    return side;
  }
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (const struct sockaddr *)origin, sizeof *origin) < 0) {
    perror("floor: connect");
    exit(1);
  }
  return adopt(fd, 0);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: floor PORT ORIGIN_PORT\n");
    return 2;
  }
  int yes = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in address = {AF_INET, htons((unsigned short)atoi(arguments[1])), {htonl(INADDR_LOOPBACK)}, {0}};
  struct sockaddr_in origin = address;
  origin.sin_port = htons((unsigned short)atoi(arguments[2]));
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
        while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) adopt(fd, 1);
        continue;
      }
      ssize_t got = recv(side->fd, side->bytes + side->length, sizeof side->bytes - side->length, MSG_DONTWAIT);
      if (got <= 0) {
        if (got == 0) close(side->fd);
        continue;
      }
      side->length += (size_t)got;
      if (!memmem(side->bytes, side->length, "\r\n\r\n", 4)) continue;
      if (side->is_client) {
        side->other = to_origin(&origin);
        side->other->other = side;
        send(side->other->fd, side->bytes, side->length, MSG_NOSIGNAL);
      } else if (side->other) {
        send(side->other->fd, side->bytes, side->length, MSG_NOSIGNAL);
        side->other->other = NULL;
        side->other = NULL;
        side->next_free = kept;
        kept = side;
      }
      side->length = 0;
    }
  }
}
