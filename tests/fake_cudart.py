"""A stand-in for libcudart, compiled from C: device memory is the host's, and work waits in its stream until somebody
waits for it, so that a forgotten copy or wait gives wrong numbers. It proves calls and their types, not a GPU.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

Work = ctypes.CFUNCTYPE(None)
SOURCE = r"""
#include <stdlib.h>
#include <string.h>

enum { HOST = 1, DEVICE = 2, MOST = 4096 };
enum { COPY, WORK, STAMP, GRAPH };
typedef struct { double happened_ms; int sleeping; } Event;
typedef struct Graph Graph;
typedef struct { int kind; char *target, *source; size_t size; void (*work)(void); Event *event; Graph *graph; } Step;
struct Graph { int count; Step steps[64]; };
typedef struct { int count, capturing; Step steps[MOST]; Graph *captured; } Stream;

static struct { char *base; size_t size; int kind; } memory[MOST];
static int live, device = -1, spun, slept;
static double clock_ms;
static char failing[64];

#define CALL(name) if (!strcmp(failing, name)) { failing[0] = 0; return 2; }

void fake_fail_next(const char *name) { strncpy(failing, name, sizeof failing - 1); }
int fake_live(void) { return live; }
int fake_device(void) { return device; }
int fake_waits(int sleeping) { return sleeping ? slept : spun; }

static int place(char *address, size_t size, int kind) {
    for (int i = 0; i < MOST; i++)
        if (memory[i].base && memory[i].kind == kind && address >= memory[i].base
            && address + size <= memory[i].base + memory[i].size) return 1;
    return 0;
}
static int take(void **out, size_t size, int kind) {
    for (int i = 0; i < MOST; i++) if (!memory[i].base) {
        memory[i].base = *out = malloc(size); memory[i].size = size; memory[i].kind = kind;
        memset(*out, 0xff, size); live++; return 0;
    }
    return 2;
}
static int give(void *address, int kind) {
    for (int i = 0; i < MOST; i++) if (memory[i].base == address && memory[i].kind == kind) {
        free(address); memory[i].base = 0; live--; return 0;
    }
    return 1;
}
static int enqueue(Stream *stream, Step step) {
    if (!stream) return 400;
    if (stream->capturing) { stream->captured->steps[stream->captured->count++] = step; return 0; }
    if (stream->count == MOST) return 2;
    stream->steps[stream->count++] = step;
    return 0;
}
static void perform(Step *step) {
    if (step->kind == COPY) memcpy(step->target, step->source, step->size);
    if (step->kind == WORK) step->work();
    if (step->kind == STAMP) step->event->happened_ms = clock_ms += 1.5;
    if (step->kind == GRAPH) for (int i = 0; i < step->graph->count; i++) perform(&step->graph->steps[i]);
}
static int finish(Stream *stream) {
    if (stream->capturing) return 900;
    for (int i = 0; i < stream->count; i++) perform(&stream->steps[i]);
    stream->count = 0;
    return 0;
}

const char *cudaGetErrorString(int code) { return code == 2 ? "out of memory" : "another error"; }
int cudaGetDeviceCount(int *count) { *count = 2; return 0; }
int cudaSetDevice(int number) { if (number > 1) return 101; device = number; return 0; }
int cudaRuntimeGetVersion(int *version) { *version = 12060; return 0; }
int cudaMalloc(void **out, size_t size) { CALL("cudaMalloc") return take(out, size, DEVICE); }
int cudaFree(void *address) { return give(address, DEVICE); }
int cudaHostAlloc(void **out, size_t size, unsigned flags) { CALL("cudaHostAlloc") return take(out, size, HOST); }
int cudaFreeHost(void *address) { return give(address, HOST); }
int cudaMemcpyAsync(void *target, void *source, size_t size, int kind, Stream *stream) {
    CALL("cudaMemcpyAsync")
    if (!place(target, size, kind == 1 ? DEVICE : HOST) || !place(source, size, kind == 1 ? HOST : DEVICE)) return 1;
    return enqueue(stream, (Step){COPY, target, source, size, 0, 0, 0});
}
int fake_enqueue(Stream *stream, void (*work)(void)) { return enqueue(stream, (Step){WORK, 0, 0, 0, work, 0, 0}); }

static Stream *newest;
int cudaStreamCreateWithFlags(Stream **out, unsigned flags) {
    *out = newest = calloc(1, sizeof(Stream)); live++; return flags == 1 ? 0 : 1;
}
int cudaStreamSynchronize(Stream *stream) { CALL("cudaStreamSynchronize") spun++; return finish(stream); }
int cudaStreamDestroy(Stream *stream) { free(stream); live--; return 0; }
int cudaEventCreateWithFlags(Event **out, unsigned flags) {
    CALL("cudaEventCreateWithFlags")
    *out = calloc(1, sizeof(Event)); (*out)->sleeping = flags & 1; live++; return 0;
}
int cudaEventRecord(Event *event, Stream *stream) { return enqueue(stream, (Step){STAMP, 0, 0, 0, 0, event, 0}); }
int cudaEventSynchronize(Event *event) { slept += event->sleeping; return finish(newest); }
int cudaEventElapsedTime(float *out, Event *first, Event *second) {
    *out = (float)(second->happened_ms - first->happened_ms);
    return first->happened_ms && second->happened_ms ? 0 : 600;
}
int cudaEventDestroy(Event *event) { free(event); live--; return 0; }
int cudaStreamBeginCapture(Stream *stream, int mode) {
    CALL("cudaStreamBeginCapture")
    stream->capturing = 1; stream->captured = calloc(1, sizeof(Graph)); live++; return mode == 1 ? 0 : 1;
}
int cudaStreamEndCapture(Stream *stream, Graph **out) { stream->capturing = 0; *out = stream->captured; return 0; }
int cudaGraphInstantiateWithFlags(Graph **out, Graph *graph, unsigned long long flags) {
    CALL("cudaGraphInstantiateWithFlags")
    *out = malloc(sizeof(Graph)); **out = *graph; live++; return flags == 0 ? 0 : 1;
}
int cudaGraphLaunch(Graph *graph, Stream *stream) { return enqueue(stream, (Step){GRAPH, 0, 0, 0, 0, 0, graph}); }
int cudaGraphExecDestroy(Graph *graph) { free(graph); live--; return 0; }
int cudaGraphDestroy(Graph *graph) { free(graph); live--; return 0; }
"""


@functools.cache
def compiled() -> bytes:
    """Compile the stand-in, once for all tests of a process."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a made-up libcudart needs a C compiler, and there is none here")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "cudart.c"), Path(folder, "libcudart.so")
        source.write_text(SOURCE, encoding="ascii")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        return library.read_bytes()


class FakeCudart:
    """The stand-in, compiled and loaded, with what it has counted."""

    def __init__(self, folder: Path) -> None:
        library = folder / "libfakecudart.so"  # a file of its own: the loader gives the same state to the same file
        library.write_bytes(compiled())
        self.library = ctypes.CDLL(str(library))
        self.library.fake_enqueue.argtypes = (ctypes.c_void_p, Work)
        self.library.fake_fail_next.argtypes = (ctypes.c_char_p,)
        self._work: list[object] = []

    @property
    def live(self) -> int:
        """Everything that was taken and not given back."""
        return int(self.library.fake_live())

    @property
    def device(self) -> int:
        """The device that was chosen last."""
        return int(self.library.fake_device())

    def waits(self, *, sleeping: bool) -> int:
        """How often somebody waited for work, spinning or asleep."""
        return int(self.library.fake_waits(int(sleeping)))

    def fail_next(self, name: str) -> None:
        """Let the next call of one function run out of memory."""
        self.library.fake_fail_next(name.encode())

    def enqueue(self, stream: int, work: object) -> None:
        """Enqueue a function of Python as if it were a kernel."""
        kept = Work(work)
        self._work.append(kept)  # ctypes does not keep what C has the address of
        code = self.library.fake_enqueue(stream, kept)
        assert code == 0, code
