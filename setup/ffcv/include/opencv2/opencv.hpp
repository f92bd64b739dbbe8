// Stands in for OpenCV's own opencv.hpp, which would want the headers of every module.
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
