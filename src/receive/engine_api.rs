//! Asks the engine what no metric tells: health, version, actor hosts, pools.
