/*
 * libaddrxlat (of libkdumpfile): addrxlat_walk() for every page; what is not present is
 * passed by as a whole where the step says at which level it ended. Ranges are merged by
 * address. In C, with the image mapped, because its Python binding would be measured
 * otherwise, not the library.
 *
 *     addrxlat walk FILE SKIP ROOT START END ROUNDS
 *     addrxlat translate FILE SKIP ROOT ADDRESSES
 *
 * Answers as job.py says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libkdumpfile/addrxlat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

struct image {
	const unsigned char *bytes;
	uint64_t size;
};

static void die(const char *what)
{
	fprintf(stderr, "addrxlat: %s\n", what);
	exit(1);
}

static void *map(const char *path, uint64_t *size)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	void *start;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	start = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (start == MAP_FAILED)
		die(path);
	/* In a sparse file a fault must not read what lies around it. */
	madvise(start, st.st_size, MADV_RANDOM);
	close(fd);
	*size = st.st_size;
	return start;
}

static void put_page(const addrxlat_buffer_t *buffer)
{
	(void)buffer;
}

static addrxlat_status get_page(const addrxlat_cb_t *cb, addrxlat_buffer_t *buffer)
{
	const struct image *image = cb->priv;
	uint64_t page = buffer->addr.addr & ~(uint64_t)(PAGE - 1);

	if (page + PAGE > image->size)
		return ADDRXLAT_ERR_NODATA;
	buffer->addr.addr = page;
	buffer->ptr = image->bytes + page;
	buffer->size = PAGE;
	buffer->byte_order = ADDRXLAT_LITTLE_ENDIAN;
	buffer->put_page = put_page;
	return ADDRXLAT_OK;
}

static unsigned long read_caps(const addrxlat_cb_t *cb)
{
	(void)cb;
	return ADDRXLAT_CAPS(ADDRXLAT_MACHPHYSADDR);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Columns that grow. */
struct ranges {
	uint64_t *start, *size, *pa;
	size_t count, room;
};

static void add(struct ranges *ranges, uint64_t start, uint64_t size, uint64_t pa)
{
	if (ranges->count == ranges->room) {
		ranges->room = ranges->room ? 2 * ranges->room : 1024;
		ranges->start = realloc(ranges->start, ranges->room * sizeof(uint64_t));
		ranges->size = realloc(ranges->size, ranges->room * sizeof(uint64_t));
		ranges->pa = realloc(ranges->pa, ranges->room * sizeof(uint64_t));
		if (!ranges->start || !ranges->size || !ranges->pa)
			die("no memory");
	}
	ranges->start[ranges->count] = start;
	ranges->size[ranges->count] = size;
	ranges->pa[ranges->count++] = pa;
}

/* pages found; ends are inclusive, because the last page ends at 2^64 */
static uint64_t walk(addrxlat_ctx_t *ctx, const addrxlat_meth_t *meth, uint64_t va,
		     uint64_t last, struct ranges *ranges)
{
	uint64_t pages = 0, start = 0, size = 0, pa = 0, skip;
	addrxlat_status status;
	addrxlat_step_t step = { .ctx = ctx, .sys = NULL, .meth = meth };

	for (;;) {
		step.base.as = ADDRXLAT_KVADDR;
		step.base.addr = va;
		status = addrxlat_walk(&step);
		if (status == ADDRXLAT_OK) {
			skip = PAGE;
			pages++;
			if (size && va == start + size && step.base.addr == pa + size) {
				size += PAGE;
			} else {
				if (size)
					add(ranges, start, size, pa);
				start = va;
				size = PAGE;
				pa = step.base.addr;
			}
		} else if (status == ADDRXLAT_ERR_NOTPRESENT) {
			/* remain: 1 is the last table's level */
			skip = (uint64_t)PAGE << 9 * (step.remain ? step.remain - 1 : 0);
			skip -= va & (skip - 1);
			addrxlat_ctx_clear_err(ctx);
		} else {
			die(addrxlat_ctx_get_err(ctx));
		}
		if (last - va < skip)
			break;
		va += skip;
	}
	if (size)
		add(ranges, start, size, pa);
	return pages;
}

static uint64_t sum(const uint64_t *column, size_t count)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < count; i++)
		total += column[i];
	return total;
}

static void walks(addrxlat_ctx_t *ctx, const addrxlat_meth_t *meth, char **argv)
{
	uint64_t start = strtoull(argv[5], NULL, 0), last = strtoull(argv[6], NULL, 0) - 1;
	int rounds = atoi(argv[7]), round;
	struct ranges ranges = { 0 };
	uint64_t pages = 0;
	double before;

	printf("{\"version\": \"" ADDRXLAT_VERSION_STRING "\", \"seconds\": [");
	/* The first round, which maps the file, does not count. */
	for (round = 0; round <= rounds; round++) {
		ranges.count = 0;
		before = now();
		pages = walk(ctx, meth, start, last, &ranges);
		if (round)
			printf("%s%.6f", round > 1 ? ", " : "", now() - before);
	}
	printf("], \"pages\": %" PRIu64 ", \"ranges\": {\"rows\": %zu, \"start\": %" PRIu64
	       ", \"size\": %" PRIu64 ", \"pa\": %" PRIu64 "}}\n",
	       pages, ranges.count, sum(ranges.start, ranges.count),
	       sum(ranges.size, ranges.count), sum(ranges.pa, ranges.count));
}

static void translations(addrxlat_ctx_t *ctx, const addrxlat_meth_t *meth, char **argv)
{
	addrxlat_step_t step = { .ctx = ctx, .sys = NULL, .meth = meth };
	uint64_t size, i, count, *out;
	const uint64_t *vas = map(argv[5], &size);
	double before, seconds;

	count = size / sizeof(*vas);
	out = malloc(size);
	if (!out)
		die("no memory");
	memset(out, 0, size);
	before = now();
	for (i = 0; i < count; i++) {
		step.base.as = ADDRXLAT_KVADDR;
		step.base.addr = vas[i];
		if (addrxlat_walk(&step) != ADDRXLAT_OK)
			die(addrxlat_ctx_get_err(ctx));
		out[i] = step.base.addr;
	}
	seconds = now() - before;
	printf("{\"version\": \"" ADDRXLAT_VERSION_STRING "\", \"seconds\": [%.6f], \"count\": %" PRIu64
	       ", \"sum\": %" PRIu64 "}\n",
	       seconds, count, sum(out, count));
}

int main(int argc, char **argv)
{
	addrxlat_ctx_t *ctx = addrxlat_ctx_new();
	addrxlat_meth_t meth = {
		.kind = ADDRXLAT_PGT,
		.target_as = ADDRXLAT_MACHPHYSADDR,
		.param.pgt = {
			.root = { .as = ADDRXLAT_MACHPHYSADDR },
			.pf = {
				.pte_format = ADDRXLAT_PTE_X86_64,
				.nfields = 5,
				.fieldsz = { 12, 9, 9, 9, 9 },
			},
		},
	};
	addrxlat_cb_t *cb = ctx ? addrxlat_ctx_add_cb(ctx) : NULL;
	struct image image;
	uint64_t skip;

	if (argc < 6 || !cb)
		die("walk FILE SKIP ROOT START END ROUNDS | translate FILE SKIP ROOT ADDRESSES");
	image.bytes = map(argv[2], &image.size);
	skip = strtoull(argv[3], NULL, 0);
	image.bytes += skip;
	image.size -= skip;
	meth.param.pgt.root.addr = strtoull(argv[4], NULL, 0);
	cb->priv = &image;
	cb->get_page = get_page;
	cb->read_caps = read_caps;
	if (!strcmp(argv[1], "walk") && argc == 8)
		walks(ctx, &meth, argv);
	else if (!strcmp(argv[1], "translate") && argc == 6)
		translations(ctx, &meth, argv);
	else
		die("walk or translate, with its arguments");
	return 0;
}
