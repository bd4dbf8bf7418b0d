export interface WatchOptions {
  /** As which events and versions name it; "var" unless given. */
  name?: string;
  /** These follow the options of `tickfs watch` unless given. */
  track_threads?: boolean | null;
  track_locals?: boolean | null;
  track_sql?: boolean | null;
  /** Up to which byte events tell of changes. */
  mutation_depth?: "FULL" | number;
  scope?: "local" | "global" | "both" | null;
  file_path?: string | null;
}

/** Has every change of this value recorded; gives it back. Throws where the program does not run under `tickfs watch`. */
export function watch<T>(value: T, options?: WatchOptions): T;
/** Whether this program is traced. */
export const traced: boolean;
