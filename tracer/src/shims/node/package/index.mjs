import tickfs from "./index.cjs";

export const { watch, traced } = tickfs;
export default tickfs;
