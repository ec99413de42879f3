import type { NextConfig } from 'next';

const config: NextConfig = {
  turbopack: { root: import.meta.dirname },
  devIndicators: false,
  images: { unoptimized: true },
};

export default config;
