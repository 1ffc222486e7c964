/* The seed's training step, written as carefully by hand as a compiler could: fused multiply-adds, a balanced sum, the
 * factor 2 folded into the rate. `seed call` runs it through a pointer, `seed loop` many times in one call; both print the
 * median time of a step in microseconds. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct state {
    float weight[3], bias, rate;
};

static void step(struct state *restrict s, const float *restrict x, const float *restrict target, float *restrict loss)
{
    float sum = fmaf(s->weight[0], x[0], s->weight[1] * x[1]) + fmaf(s->weight[2], x[2], s->bias);
    float error = sum - *target, slope = -2 * s->rate * error;
    *loss = error * error;
    for (int i = 0; i < 3; i++)
        s->weight[i] = fmaf(slope, x[i], s->weight[i]);
    s->bias += slope;
}

static void steps(struct state *restrict s, const float *restrict x, const float *restrict target, float *restrict loss,
                  long count)
{
    struct state kept = *s;
    for (long i = 0; i < count; i++)
        step(&kept, x, target, loss);
    *s = kept;
}

/* Volatile, so that calls stay calls. */
static void (*volatile called)(struct state *, const float *, const float *, float *) = step;
static void (*volatile looped)(struct state *, const float *, const float *, float *, long) = steps;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

int main(int count, char **arguments)
{
    enum { BATCHES = 101, STEPS = 1000000 };
    static double times[BATCHES];
    int is_loop = count > 1 && strcmp(arguments[1], "loop") == 0;
    struct state s = {{0.4f, 0.5f, 0.6f}, 0.1f, 0.01f};
    float x[3] = {0.1f, 0.2f, 0.3f}, target = 1, loss;
    for (int batch = 0; batch < BATCHES; batch++) {
        double started = now();
        if (is_loop)
            looped(&s, x, &target, &loss, STEPS);
        else
            for (long i = 0; i < STEPS; i++)
                called(&s, x, &target, &loss);
        times[batch] = (now() - started) / STEPS;
    }
    qsort(times, BATCHES, sizeof *times, ascending);
    printf("%.6f\n", times[BATCHES / 2] * 1e6);
    return !isfinite(loss);
}
