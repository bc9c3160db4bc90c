/** How long the stages of a picture take: medians of the last. */

const KEPT = 50;

export class Times {
  private readonly values = new Map<string, number[]>();

  /** Takes milliseconds by stage. */
  add(stages: Record<string, number>): void {
    for (const [stage, value] of Object.entries(stages)) {
      const values = this.values.get(stage) ?? [];
      values.push(value);
      this.values.set(stage, values.slice(-KEPT));
    }
  }

  clear(): void {
    this.values.clear();
  }

  /** Milliseconds; undefined of a stage that has not been. */
  median(stage: string): number | undefined {
    const sorted = [...(this.values.get(stage) ?? [])].sort((a, b) => a - b);
    if (!sorted.length) return undefined;
    const middle = sorted.length >> 1;
    return sorted.length % 2
      ? sorted[middle]
      : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  /** Of how many pictures the medians are. */
  get count(): number {
    return Math.max(0, ...[...this.values.values()].map((values) => values.length));
  }
}
