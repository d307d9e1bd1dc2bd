"""Where live data comes from: microphones, cameras, video files and samples on a pipe."""
