/* What scenarios need and busybox lacks: sets a camera's controls, takes frames as any other program would, and stands in
 * for systemd's watchdog. For the emulated machine only; nothing of it ships.
 *
 *   vmtool control DEVICE [NAME VALUE]        sets a control by its name; lists them without one
 *   vmtool input DEVICE NUMBER                chooses an input
 *   vmtool picture DEVICE RGB3|GREY WxH FILE  one frame as a PNG
 *   vmtool hold DEVICE WxH SECONDS            captures for so long and throws the frames away
 *   vmtool open DEVICE SECONDS                keeps the device open and does nothing with it
 *   vmtool supervise SECONDS LOG COMMAND...   runs a command as systemd would with WatchdogSec=SECONDS
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/videodev2.h>

static void die(const char *what)
{
	fprintf(stderr, "vmtool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int device(const char *path)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

/* Controls */

static int control(int fd, const char *name, long value)
{
	struct v4l2_query_ext_ctrl q = {.id = V4L2_CTRL_FLAG_NEXT_CTRL};
	for (; ioctl(fd, VIDIOC_QUERY_EXT_CTRL, &q) == 0; q.id |= V4L2_CTRL_FLAG_NEXT_CTRL) {
		if (!name) {
			printf("%s: type %u, %lld to %lld, default %lld\n", q.name, q.type, (long long)q.minimum,
			       (long long)q.maximum, (long long)q.default_value);
		} else if (strcmp(q.name, name) == 0) {
			struct v4l2_control c = {.id = q.id, .value = value};
			if (ioctl(fd, VIDIOC_S_CTRL, &c) < 0)
				die(name);
			return 0;
		}
	}
	if (name)
		fprintf(stderr, "vmtool: no control %s\n", name);
	return name != NULL;
}

/* Capturing */

/* A call that waits, up to 20 seconds, for a camera that another program has. */
static void call(int fd, unsigned long what, void *argument, const char *doing)
{
	double end = now() + 20;
	while (ioctl(fd, what, argument) < 0) {
		if (errno != EBUSY || now() > end)
			die(doing);
		usleep(5000);
	}
}

enum { BUFFERS = 3 };
static struct { void *start; size_t length; } buffers[BUFFERS];

static struct v4l2_pix_format begin(int fd, uint32_t fourcc, const char *size)
{
	struct v4l2_format f = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
	if (sscanf(size, "%ux%u", &f.fmt.pix.width, &f.fmt.pix.height) != 2)
		die(size);
	f.fmt.pix.pixelformat = fourcc;
	f.fmt.pix.field = V4L2_FIELD_NONE;
	call(fd, VIDIOC_S_FMT, &f, "setting the format");
	struct v4l2_requestbuffers r = {.count = BUFFERS, .type = f.type, .memory = V4L2_MEMORY_MMAP};
	call(fd, VIDIOC_REQBUFS, &r, "making buffers");
	if (r.count > BUFFERS)
		die("too many buffers");
	for (unsigned i = 0; i < r.count; i++) {
		struct v4l2_buffer b = {.index = i, .type = f.type, .memory = V4L2_MEMORY_MMAP};
		if (ioctl(fd, VIDIOC_QUERYBUF, &b) < 0)
			die("asking for a buffer");
		buffers[i].length = b.length;
		buffers[i].start = mmap(NULL, b.length, PROT_READ, MAP_SHARED, fd, b.m.offset);
		if (buffers[i].start == MAP_FAILED || ioctl(fd, VIDIOC_QBUF, &b) < 0)
			die("handing over a buffer");
	}
	int type = f.type;
	if (ioctl(fd, VIDIOC_STREAMON, &type) < 0)
		die("starting");
	return f.fmt.pix;
}

static struct v4l2_buffer take(int fd)
{
	struct v4l2_buffer b = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, 30000) != 1 || ioctl(fd, VIDIOC_DQBUF, &b) < 0)
		die("waiting for a frame");
	return b;
}

static void hold(int fd, const char *size, double seconds)
{
	begin(fd, V4L2_PIX_FMT_RGB24, size);
	puts("holding");
	fflush(stdout);
	for (double end = now() + seconds; now() < end;) {
		struct v4l2_buffer b = take(fd);
		if (ioctl(fd, VIDIOC_QBUF, &b) < 0)
			die("giving back a buffer");
	}
}

/* PNG with stored blocks: nothing is compressed. */

static uint32_t crc, adler_a, adler_b;
static FILE *out;

static void put(const void *data, size_t n)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	fwrite(data, 1, n, out);
}

static void put32(uint32_t v)
{
	put((uint8_t[]){v >> 24, v >> 16, v >> 8, v}, 4);
}

static void chunk(uint32_t length, const char *kind)
{
	put32(length);
	crc = 0xffffffffu;
	put(kind, 4);
}

static void end_chunk(void)
{
	put32(~crc);
}

static void add_adler(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		adler_a = (adler_a + p[i]) % 65521;
		adler_b = (adler_b + adler_a) % 65521;
	}
}

/* One stored block per row, each beginning with its filter byte 0. */
static void png(const char *file, const uint8_t *rows, struct v4l2_pix_format pix)
{
	int grey = pix.pixelformat == V4L2_PIX_FMT_GREY;
	uint32_t row = pix.width * (grey ? 1 : 3);
	out = fopen(file, "w");
	if (!out || row + 1 > 65535)
		die(file);
	put("\x89PNG\r\n\x1a\n", 8);
	chunk(13, "IHDR");
	put32(pix.width);
	put32(pix.height);
	put((uint8_t[]){8, grey ? 0 : 2, 0, 0, 0}, 5);
	end_chunk();
	chunk(2 + pix.height * (5 + 1 + row) + 4, "IDAT");
	put("\x78\x01", 2);
	adler_a = 1, adler_b = 0;
	for (uint32_t y = 0; y < pix.height; y++, rows += pix.bytesperline) {
		uint16_t n = row + 1;
		put((uint8_t[]){y + 1 == pix.height, n, n >> 8, ~n, (uint16_t)~n >> 8, 0}, 6);
		put(rows, row);
		add_adler((uint8_t[]){0}, 1);
		add_adler(rows, row);
	}
	put32(adler_b << 16 | adler_a);
	end_chunk();
	chunk(0, "IEND");
	end_chunk();
	if (fclose(out))
		die(file);
}

static void picture(int fd, const char *format, const char *size, const char *file)
{
	uint32_t fourcc = strcmp(format, "GREY") ? V4L2_PIX_FMT_RGB24 : V4L2_PIX_FMT_GREY;
	struct v4l2_pix_format pix = begin(fd, fourcc, size);
	struct v4l2_buffer b;
	for (int i = 0; i < 2; i++) { /* the second one, drawn wholly after the start */
		b = take(fd);
		if (i == 0 && ioctl(fd, VIDIOC_QBUF, &b) < 0)
			die("giving back a buffer");
	}
	png(file, buffers[b.index].start, pix);
}

/* The watchdog, as systemd does it: Type=notify, WatchdogSec, Restart=on-watchdog. */

static FILE *record;

static void tell(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fprintf(record, "%.2f ", now());
	vfprintf(record, format, list);
	fputc('\n', record);
	fflush(record);
	va_end(list);
}

static pid_t begin_command(const char *socket, long seconds, char **command)
{
	pid_t child = fork();
	if (child == 0) {
		char text[32];
		setenv("NOTIFY_SOCKET", socket, 1);
		snprintf(text, sizeof text, "%ld", seconds * 1000000);
		setenv("WATCHDOG_USEC", text, 1);
		snprintf(text, sizeof text, "%d", getpid());
		setenv("WATCHDOG_PID", text, 1);
		execvp(command[0], command);
		die(command[0]);
	}
	if (child < 0)
		die("fork");
	tell("started %d", child);
	return child;
}

/* Tells what one message says; true if it feeds the watchdog or makes it begin. */
static int heard(char *message)
{
	int fed = 0;
	for (char *line = strtok(message, "\n"); line; line = strtok(NULL, "\n")) {
		tell("%s", line);
		fed |= !strcmp(line, "WATCHDOG=1") || !strcmp(line, "READY=1");
	}
	return fed;
}

static int supervise(long seconds, const char *log, char **command)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	record = fopen(log, "a");
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char *here = getcwd(NULL, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%.80s/notify", here);
	unlink(address.sun_path);
	if (!record || fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address))
		die(address.sun_path);
	for (;;) {
		pid_t child = begin_command(address.sun_path, seconds, command);
		double fed = 0; /* the watchdog begins with READY=1 */
		int status, killed = 0;
		while (waitpid(child, &status, WNOHANG) == 0) {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			char message[1024];
			ssize_t n;
			while (poll(&p, 1, 50) == 1 && (n = recv(fd, message, sizeof message - 1, MSG_DONTWAIT)) >= 0) {
				message[n] = 0;
				if (heard(message))
					fed = now();
			}
			if (fed > 0 && !killed && now() - fed > seconds) {
				tell("watchdog timeout, aborting %d", child);
				kill(child, SIGABRT);
				killed = 1;
			}
		}
		if (WIFEXITED(status))
			tell("exited %d", WEXITSTATUS(status));
		else
			tell("killed by signal %d", WTERMSIG(status));
		if (!killed)
			return 0;
	}
}

int main(int n, char **a)
{
	const char *what = n > 2 ? a[1] : "";
	if (!strcmp(what, "control") && (n == 3 || n == 5))
		return control(device(a[2]), n == 5 ? a[3] : NULL, n == 5 ? atol(a[4]) : 0);
	if (!strcmp(what, "input") && n == 4) {
		int input = atoi(a[3]);
		call(device(a[2]), VIDIOC_S_INPUT, &input, "choosing the input");
	} else if (!strcmp(what, "picture") && n == 6) {
		picture(device(a[2]), a[3], a[4], a[5]);
	} else if (!strcmp(what, "hold") && n == 5) {
		hold(device(a[2]), a[3], atof(a[4]));
	} else if (!strcmp(what, "open") && n == 4) {
		device(a[2]);
		puts("open");
		fflush(stdout);
		usleep(atof(a[3]) * 1e6);
	} else if (!strcmp(what, "supervise") && n >= 5) {
		return supervise(atol(a[2]), a[3], a + 4);
	} else {
		fputs("vmtool: wrong arguments; see the top of vmtool.c\n", stderr);
		return 2;
	}
	return 0;
}
